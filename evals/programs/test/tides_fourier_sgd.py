"""Tide height from moon and sun phases with Fourier features; a plain function loop."""
import math

import torch
from torch import nn


def tide_records(n):
    t = torch.rand(n) * 14
    moon, sun = 2 * math.pi * t / 12.42 * 24, 2 * math.pi * t
    height = 1.1 * torch.cos(moon) + 0.5 * torch.cos(sun + 0.6) + 0.2 * torch.cos(moon) * torch.sin(sun)
    x = torch.stack([torch.cos(moon), torch.sin(moon), torch.cos(sun), torch.sin(sun)], 1)
    return x, height + 0.03 * torch.randn(n)


def update(model, optimizer, x, height):
    error = model(x).squeeze(-1) - height
    loss = error.square().mean()
    #% if fault
    loss.backward()
    optimizer.zero_grad()  #% here
    optimizer.step()
    #% else
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    #% endif
    return loss.detach()


def train(model, records, steps=240, size=48):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, height = records
    history = torch.zeros(steps)
    for step in range(steps):
        rows = torch.randint(len(x), (size,))
        history[step] = update(model, optimizer, x[rows], height[rows])
        if (step + 1) % 40 == 0:
            print(f"step {step + 1}: mean loss of the last 40 steps {history[step - 39 : step + 1].mean():.5f}")
    return model


torch.manual_seed(71)  #% seed
model = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 1))
train(model, tide_records(1500))
x, height = tide_records(400)
with torch.no_grad():
    print(f"rms error {(model(x).squeeze(-1) - height).square().mean().sqrt().item():.4f} m")
