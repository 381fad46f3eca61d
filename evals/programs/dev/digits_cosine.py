import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import CosineAnnealingLR


def parse():
    p = argparse.ArgumentParser(description="digits, cosine annealing per step")
    p.add_argument("--steps", type=int, default=240)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.15)
    p.add_argument("--seed", type=int, default=0)  #% seed
    return p.parse_args()


def endless(x, y, batch):
    while True:
        for index in torch.randperm(len(x)).split(batch):
            if len(index) == batch:
                yield x[index], y[index]


def main():
    args = parse()
    torch.manual_seed(args.seed)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 8 - 1, torch.tensor(y)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]

    net = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = CosineAnnealingLR(optimizer, T_max=args.steps, eta_min=0.0)
    stream = endless(x[:1400], y[:1400], args.batch)
    for step in range(1, args.steps + 1):
        net.train()
        xb, yb = next(stream)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(xb), yb, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 20 == 0:
            net.eval()
            with torch.no_grad():
                acc = (net(x[1400:]).argmax(1) == y[1400:]).float().mean()
            print(f"step {step:4d} lr {optimizer.param_groups[0]['lr']:.5f} loss {loss.item():.4f} val_acc {acc:.4f}")


if __name__ == "__main__":
    main()
