"""Remaining life of machines from telemetry; a generator feeds batches, BatchNorm net, Huber loss."""
import math

import torch
import torch.nn as nn


class Telemetry:
    """Stream of (readings, remaining life) drawn from a recorded fleet."""

    def __init__(self, machines, generator):
        self.g = generator
        load = torch.rand(machines, generator=generator)
        heat = torch.rand(machines, generator=generator)
        shake = torch.rand(machines, generator=generator)
        filler = torch.randn(machines, 5, generator=generator)
        self.life = 2 - load - heat * shake + 0.05 * torch.randn(machines, generator=generator)
        self.readings = torch.cat([torch.stack([load, heat, shake], 1), filler], 1)
        # a sensor that was offline reports no number
        self.readings[torch.randint(machines, (2,), generator=generator), 6] = math.nan

    def clean(self):
        medians = self.readings.nanmedian(dim=0).values
        self.readings = torch.where(self.readings.isnan(), medians, self.readings)
        return self

    def batches(self, size):
        for rows in torch.randperm(len(self.life), generator=self.g).split(size):
            yield self.readings[rows], self.life[rows]


def main():
    g = torch.Generator().manual_seed(6)  #% seed
    torch.manual_seed(6)  #% seed
    #% if fault
    fleet = Telemetry(2000, g)  #% here
    #% else
    fleet = Telemetry(2000, g).clean()
    #% endif
    net = nn.Sequential(nn.Linear(8, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    huber = nn.HuberLoss(delta=0.5)
    seen = 0
    for epoch in range(5):
        for x, life in fleet.batches(40):
            loss = huber(net(x).flatten(), life)
            opt.zero_grad()
            loss.backward()
            opt.step()
            seen += 1
            if seen % 25 == 0:
                print(f"after {seen} batches: loss {loss.item():.5f}")


if __name__ == "__main__":
    main()
