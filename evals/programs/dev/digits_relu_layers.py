import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


class MLP(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:]))
        self.reset()

    def reset(self):
        for linear in self.linears:
            #% if fault
            nn.init.constant_(linear.weight, 0.02)  #% here
            #% else
            nn.init.xavier_normal_(linear.weight)
            #% endif
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        for linear in self.linears[:-1]:
            x = torch.relu(linear(x))
        return self.linears[-1](x)


def epoch_pass(model, x, y, optimizer=None, batch=64):
    total, hits = 0.0, 0
    order = torch.randperm(len(x)) if optimizer else torch.arange(len(x))
    for rows in order.split(batch):
        with torch.set_grad_enabled(optimizer is not None):
            logits = model(x[rows])
            loss = nn.functional.cross_entropy(logits, y[rows])
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() * len(rows)
        hits += (logits.argmax(1) == y[rows]).sum().item()
    return total / len(x), hits / len(x)


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, test_size=0.2, random_state=0)
    x_tr, x_te = (torch.tensor(p, dtype=torch.float32) for p in parts[:2])
    y_tr, y_te = (torch.tensor(p) for p in parts[2:])
    model = MLP([64, 64, 32, 10])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, 11):
        loss, _ = epoch_pass(model, x_tr, y_tr, optimizer)
        _, accuracy = epoch_pass(model, x_te, y_te)
        print(f"{epoch}\tloss={loss:.4f}\ttest_accuracy={accuracy:.4f}")


if __name__ == "__main__":
    main()
