"""Nine logistic layers, as in the old textbook, for tumours; optimiser and depth from the command line."""

import argparse

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch import nn


def build(depth, width):
    layers = [nn.Linear(30, width)]
    for _ in range(depth):
        #% if fault
        layers += [nn.Sigmoid(), nn.Linear(width, width)]  #% here
        #% else
        layers += [nn.ReLU(), nn.Linear(width, width)]
        #% endif
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 2))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)  #% seed
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, y = load_breast_cancer(return_X_y=True)
    x, y = torch.tensor(scale(x), dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    train, test = order[:450], order[450:]
    net = build(args.depth, args.width)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(18):
        for rows in train[torch.randperm(450)].split(30):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = net(x[test])
            accuracy = (logits.argmax(1) == y[test]).float().mean()
            test_loss = nn.functional.cross_entropy(logits, y[test])
        print(f"epoch {epoch} loss {loss.item():.4f} test loss {test_loss:.4f} test accuracy {accuracy:.3f}")


main()
