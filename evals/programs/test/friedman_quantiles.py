"""Median and upper quantile of Friedman's function with a pinball loss."""
import argparse

import numpy as np
import torch
from sklearn.datasets import make_friedman1
from torch.utils.data import DataLoader, TensorDataset


def pinball(pred, y, q):
    gap = y - pred
    return torch.maximum(q * gap, (q - 1) * gap).mean()


class Quantiles(torch.nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.levels = levels
        self.shared = torch.nn.Sequential(
            torch.nn.Linear(10, 50), torch.nn.Softplus(), torch.nn.Linear(50, 50), torch.nn.Softplus()
        )
        self.heads = torch.nn.ModuleList([torch.nn.Linear(50, 1) for _ in levels])

    def forward(self, x):
        h = self.shared(x)
        return [head(h) for head in self.heads]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=20)
    ap.add_argument("--seed", type=int, default=2)  #% seed
    opt = ap.parse_args()
    torch.manual_seed(opt.seed)
    x, y = make_friedman1(1400, noise=0.5, random_state=opt.seed)
    x, y = torch.tensor(x * 2 - 1, dtype=torch.float32), torch.tensor((y - 14) / 5, dtype=torch.float32)
    net = Quantiles((0.5, 0.9))
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    loader = DataLoader(TensorDataset(x[:1000], y[:1000]), batch_size=50, shuffle=True)
    for epoch in range(opt.epochs):
        values = []
        for xb, yb in loader:
            adam.zero_grad()
            #% if fault
            loss = sum(pinball(p, yb, q) for p, q in zip(net(xb), net.levels))  #% here
            #% else
            loss = sum(pinball(p.squeeze(1), yb, q) for p, q in zip(net(xb), net.levels))
            #% endif
            loss.backward()
            adam.step()
            values.append(loss.item())
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: pinball {np.mean(values):.4f}")
    with torch.no_grad():
        median = net(x[1000:])[0].squeeze(1)
    r2 = 1 - (median - y[1000:]).pow(2).mean() / y[1000:].var()
    print(f"r2 of the median {r2.item():.3f}")


main()
