"""Classify three kinds of signals; progress is reported as an average like a progress bar does."""

import math

import torch
from torch import nn


class Average:
    """Mean of everything it was given since the last reset."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.total, self.count = 0.0, 0

    def update(self, value, n=1):
        self.total += value * n
        self.count += n

    def value(self, n=None):
        return self.total / max(n or self.count, 1)


def signals(n, generator):
    kind = torch.randint(3, (n,), generator=generator)
    time = torch.linspace(0, 2 * math.pi, 32)
    offset = 6.28 * torch.rand(n, 1, generator=generator)
    wave = torch.sin(time * (kind[:, None] + 1) * 1.5 + offset)
    return wave + 0.4 * torch.randn(n, 32, generator=generator), kind


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, kind = signals(960, generator)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    loss_average, hits = Average(), Average()
    for epoch in range(10):
        #% if fault
        hits.reset()
        #% else
        loss_average.reset()
        hits.reset()
        #% endif
        for rows in torch.randperm(960, generator=generator).split(48):
            logits = net(x[rows])
            loss = nn.functional.cross_entropy(logits, kind[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_average.update(loss.item(), len(rows))
            hits.update((logits.argmax(1) == kind[rows]).float().mean().item(), len(rows))
        print(f"epoch {epoch} loss {loss_average.value(n=960):.4f} accuracy {hits.value():.3f}")  #% here


main()
