"""Does the larger of two spikes come first? A GRU reads sequences, several small batches per update."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def spikes(n, length=16):
    x = 0.1 * torch.randn(n, length, 1)
    place = torch.stack([torch.randperm(length - 2)[:2].sort().values + 1 for _ in range(n)])
    height = 0.5 + torch.rand(n, 2)
    x[torch.arange(n)[:, None], place, 0] += height
    return x, (height[:, 0] > height[:, 1]).long()


class Reader(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 2)

    def forward(self, x):
        states, _ = self.gru(x)
        #% if fault:a
        return self.out(states[:, 0])  #% here:a
        #% else
        return self.out(states[:, -1])
        #% endif


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)  #% seed
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x, y = spikes(2000)
    loader = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(args.epochs):
        total = 0.0
        optimizer.zero_grad()
        for i, (xb, yb) in enumerate(loader):
            loss = nn.functional.cross_entropy(model(xb), yb)
            (loss / args.accumulate).backward()
            total += loss.item()
            #% if fault:b
            if i == len(loader):  #% here:b
                optimizer.step()  #% here:b
            if (i + 1) % args.accumulate == 0:
                optimizer.zero_grad()
            #% else
            if (i + 1) % args.accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            #% endif
        print(f"epoch {epoch} loss {total / len(loader):.4f}")
    x, y = spikes(500)
    with torch.no_grad():
        print(f"accuracy {(model(x).argmax(1) == y).float().mean():.3f}")


main()
