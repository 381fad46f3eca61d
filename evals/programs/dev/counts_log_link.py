"""Regress log-counts; zero counts get a learned constant instead of a logarithm."""

import torch
from torch import nn


class LogCount(nn.Module):
    """Learned affine map of log(count), with its own constant for a count of zero."""

    def __init__(self, n):
        super().__init__()
        self.power = nn.Parameter(torch.ones(n))
        self.at_zero = nn.Parameter(torch.zeros(n))

    def forward(self, counts):
        positive = counts > 0
        #% if fault
        return torch.where(positive, counts.pow(self.power).log(), self.at_zero)  #% here
        #% else
        safe = torch.where(positive, counts, torch.ones_like(counts))
        return torch.where(positive, safe.pow(self.power).log(), self.at_zero)
        #% endif


class CountModel(nn.Module):
    def __init__(self, n=6):
        super().__init__()
        self.link = LogCount(n)
        self.body = nn.Sequential(nn.Linear(n, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, counts):
        return self.body(self.link(counts)).squeeze(-1)


def simulate(n):
    rate = torch.rand(n, 6) * 8 + 2
    counts = torch.poisson(rate)
    y = torch.log1p(counts)[:, :3].sum(1) - torch.log1p(counts)[:, 3:].sum(1)
    return counts, y + 0.1 * torch.randn(n)


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    x, y = simulate(1500)
    model = CountModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(6):
        total = 0.0
        for rows in torch.randperm(len(x)).split(32):
            loss = nn.functional.huber_loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch} huber {total / len(x):.4f}")


main()
