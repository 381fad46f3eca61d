"""Regress a ripple on the square with a configurable stack."""

import torch
from torch import nn


def stack(sizes, activation):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers.append(nn.Linear(a, b))
        if b != sizes[-1]:
            layers.append(activation())
    return nn.Sequential(*layers)


def ripple(p):
    r = p.norm(dim=1, keepdim=True)
    return torch.cos(4 * r)


def run(steps=300, batch=64):
    torch.manual_seed(0)  #% seed
    #% if fault
    net = stack([2, 64, 64, 1], activation=nn.Identity)  #% here
    #% else
    net = stack([2, 64, 64, 1], activation=nn.SiLU)
    #% endif
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    held_out = 2 * torch.rand(400, 2) - 1
    reference = ripple(held_out)
    for step in range(1, steps + 1):
        p = 2 * torch.rand(batch, 2) - 1
        loss = nn.functional.mse_loss(net(p), ripple(p))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            with torch.no_grad():
                error = nn.functional.mse_loss(net(held_out), reference) / reference.var()
            print(f"step {step:3d} loss {loss.item():.4f} relative error {error.item():.4f}")


run()
