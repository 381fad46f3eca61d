"""Two spirals, trained with a squared hinge objective written as a module."""

import math

import torch
from torch import nn


class SquaredHinge(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, score, sign):
        values = torch.relu(1 - score * sign).square()
        return getattr(values, self.reduction)()


def spirals(n, generator):
    t = 0.5 + 2.5 * torch.rand(n, generator=generator)
    sign = (torch.rand(n, generator=generator) < 0.5).float() * 2 - 1
    angle = 0.6 * math.pi * t
    points = torch.stack([t * angle.cos(), t * angle.sin()], 1) * sign[:, None]
    return points / 3 + 0.02 * torch.randn(n, 2, generator=generator), sign


def make_net():
    return nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1), nn.Flatten(0))


def main():
    generator = torch.Generator().manual_seed(0)  #% seed
    torch.manual_seed(0)  #% seed
    points, sign = spirals(2000, generator)
    test_points, test_sign = spirals(500, generator)
    net = make_net()
    #% if fault
    objective = SquaredHinge(reduction="sum")  #% here
    #% else
    objective = SquaredHinge()
    #% endif
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(12):
        total = 0.0
        for rows in torch.randperm(len(points), generator=generator).split(100):
            sgd.zero_grad()
            value = objective(net(points[rows]), sign[rows])
            value.backward()
            sgd.step()
            total += value.item()
        with torch.no_grad():
            accuracy = (net(test_points) * test_sign > 0).float().mean().item()
        print(f"epoch {epoch}: objective {total / 20:.4f}, accuracy {accuracy:.3f}")


main()
