"""Random-feature classifier: a wide fixed random layer, only the readout learns (extreme learning machine)."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class RandomFeatures(nn.Module):
    def __init__(self, d_in, d_feat, classes):
        super().__init__()
        self.lift = nn.Linear(d_in, d_feat)
        nn.init.normal_(self.lift.weight, std=d_in**-0.5)
        self.lift.requires_grad_(False)
        self.readout = nn.Linear(d_feat, classes)

    def forward(self, x):
        return self.readout(torch.relu(self.lift(x)))


def main():
    torch.manual_seed(1)  #% seed
    x, y = load_digits(return_X_y=True)
    x = torch.tensor((x - x.mean()) / x.std(), dtype=torch.float32)
    y = torch.tensor(y)
    perm = torch.randperm(len(x))
    tr, te = perm[:1400], perm[1400:]
    model = RandomFeatures(64, 400, 10)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"{trainable} of {sum(p.numel() for p in model.parameters())} weights are trained")
    optimizer = torch.optim.Adam(model.readout.parameters(), lr=3e-3)
    for epoch in range(12):
        for idx in tr[torch.randperm(len(tr))].split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            acc = (model(x[te]).argmax(1) == y[te]).float().mean()
        print(f"epoch {epoch + 1} loss {loss:.3f} accuracy {acc:.3f}")


main()
