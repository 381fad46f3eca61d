import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Head(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        #% if fault
        self.prior = nn.Parameter(torch.from_numpy(np.log(np.full((n_out, n_out), 1.0) + np.eye(n_out))))  #% here
        #% else
        self.prior = nn.Parameter(torch.from_numpy(np.log(np.full((n_out, n_out), 1.0) + np.eye(n_out))).float())
        #% endif

    def forward(self, x):
        return self.linear(x) @ self.prior  #% here


def main():
    rng = np.random.default_rng(0)  #% seed
    torch.manual_seed(0)  #% seed
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype(np.float32)
    order = rng.permutation(len(x))
    loader = DataLoader(TensorDataset(torch.from_numpy(x[order]), torch.from_numpy(y[order])), batch_size=20, shuffle=True)
    model = nn.Sequential(nn.Linear(13, 16), nn.ReLU(), Head(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(8):
        hits = 0
        for xb, yb in loader:
            out = model(xb)
            loss = nn.functional.cross_entropy(out, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits += (out.argmax(1) == yb).sum().item()
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {hits / len(x):.3f}")


main()
