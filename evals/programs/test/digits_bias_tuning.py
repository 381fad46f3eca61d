"""Parameter-efficient tuning: a net trained on the digits 0-4 is moved to 5-9 by training few of its weights."""
import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def halves():
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x / 16.0 - 0.3, dtype=torch.float32)
    y = torch.tensor(y)
    low, high = y < 5, y >= 5
    return (x[low], y[low]), (x[high], y[high] - 5)


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.readout = nn.Linear(width, 5)

    def forward(self, x):
        return self.readout(self.trunk(x))


def fit(net, x, y, epochs, lr, tag):
    optim = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    for epoch in range(epochs):
        running = 0.0
        for idx in torch.randperm(len(x)).split(32):
            loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
            running += float(loss) * len(idx)
        print(f"[{tag}] epoch {epoch:2d}  loss {running / len(x):.4f}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--width", type=int, default=64)
    ap.add_argument("--seed", type=int, default=5)  #% seed
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    (xa, ya), (xb, yb) = halves()
    net = Net(args.width)
    fit(net, xa, ya, 8, 0.1, "pretrain")

    net.readout = nn.Linear(args.width, 5)
    for name, p in net.named_parameters():
        #% if fault
        p.requires_grad = name.endswith("bias")  #% here
        #% else
        p.requires_grad = name.endswith("bias") or name.startswith("readout")
        #% endif
    perm = torch.randperm(len(xb))
    train, test = perm[:600], perm[600:]
    fit(net, xb[train], yb[train], 20, 0.05, "tune")

    net.eval()
    with torch.no_grad():
        right = (net(xb[test]).argmax(-1) == yb[test]).float().mean()
    print(f"test accuracy on 5-9: {right:.3f}")


if __name__ == "__main__":
    main()
