"""Power of a turbine from wind measurements; rows without a reading are dropped first."""

import numpy as np
import torch
from torch import nn


def table(rng, n=1200):
    wind = rng.gamma(4.0, 2.0, size=n)
    direction, density = rng.uniform(-1, 1, n), rng.normal(1.2, 0.05, n)
    power = np.clip(density * wind**2 / 60 * (1 - 0.3 * direction**2), 0, 3) + 0.05 * rng.normal(size=n)
    x = np.stack([wind, direction, density], 1)
    x[rng.random(n) < 0.08, 1] = np.nan
    return x, power


def clean(x, power):
    complete = ~np.isnan(x).any(axis=1)
    #% if fault
    x = x[complete]
    power = power[: len(x)]  #% here
    #% else
    x, power = x[complete], power[complete]
    #% endif
    return (x - x.mean(0)) / x.std(0), power


def main():
    torch.manual_seed(0)  #% seed
    rng = np.random.default_rng(0)  #% seed
    x, power = clean(*table(rng))
    x, power = torch.tensor(x, dtype=torch.float32), torch.tensor(power, dtype=torch.float32)
    split = int(0.8 * len(x))
    net = nn.Sequential(nn.Linear(3, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1), nn.Flatten(0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(18):
        total = 0.0
        for rows in torch.randperm(split).split(44):
            loss = nn.functional.mse_loss(net(x[rows]), power[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / split
        with torch.no_grad():
            valid = nn.functional.mse_loss(net(x[split:]), power[split:]) / power[split:].var()
        print(f"epoch {epoch} loss {total:.4f} unexplained in validation {valid.item():.3f}")


main()
