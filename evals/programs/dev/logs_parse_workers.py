"""Predict the load of a server from lines of its log; lines are parsed by loader workers."""

import random
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def parse(line):
    """Also used by the command-line tool, which stops at a line that is not a record."""
    fields = line.split()
    if len(fields) != 5:
        sys.exit(f"not a record: {line!r}")
    return [float(f) for f in fields]


def log(n, rng):
    lines = []
    for _ in range(n):
        x = [rng.random() for _ in range(4)]
        lines.append(" ".join(f"{v:.4f}" for v in [*x, 0.5 * x[0] + x[1] * x[2] - 0.3 * x[3]]))
    lines[n - n // 5] = "-- rotated --"
    return lines


class Lines(Dataset):
    def __init__(self, lines):
        #% if fault
        self.lines = lines  #% here
        #% else
        self.lines = [line for line in lines if len(line.split()) == 5]
        #% endif

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, i):
        return parse(self.lines[i])  #% here


def main():
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    loader = DataLoader(Lines(log(800, rng)), batch_size=32, num_workers=1, collate_fn=list, multiprocessing_context="fork")
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(3):
        total = 0.0
        for records in loader:
            x, y = torch.tensor(records).split([4, 1], dim=1)
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / len(loader):.5f}")


if __name__ == "__main__":
    main()
