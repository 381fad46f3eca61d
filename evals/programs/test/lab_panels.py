"""Five lab values per patient, many not measured (NaN); the loss only counts what was measured."""
import math

import torch
from torch import nn


class Panel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(9, 40), nn.CELU(), nn.Linear(40, 5))

    def forward(self, x):
        return self.net(x)


def measured_mse(pred, target):
    known = ~target.isnan()
    if not known.any():
        return pred.sum() * 0
    return (pred[known] - target[known]).square().mean()


def patients(n, mixing):
    x = torch.randn(n, 9)
    y = torch.tanh(x @ mixing) + 0.05 * torch.randn(n, 5)
    full = y.clone()
    y[torch.rand(n, 5) < 0.7] = math.nan
    return x, y, full


def main():
    torch.manual_seed(125)  #% seed
    mixing = torch.randn(9, 5) / 2
    x, y, _ = patients(1600, mixing)
    x_test, _, full = patients(400, mixing)
    panel = Panel()
    opt = torch.optim.Adam(panel.parameters(), lr=6e-3)
    for step in range(1, 301):
        rows = torch.randint(1600, (40,))
        loss = measured_mse(panel(x[rows]), y[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.4f} measured {(~y[rows].isnan()).float().mean().item():.2f}")
    with torch.no_grad():
        print(f"error on complete panels {(panel(x_test) - full).square().mean().item():.4f}")


main()
