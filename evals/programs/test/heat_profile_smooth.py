"""Fit a temperature profile along a rod with a coordinate net and a smoothness prior from automatic derivatives."""
import math

import torch
import torch.nn as nn


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x)


def profile(x):
    return torch.sin(2 * math.pi * x) + 0.4 * torch.cos(5 * math.pi * x)


def curvature(net, x):
    x = x.clone().requires_grad_(True)
    u = net(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (d2u,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    return d2u


class Weights:
    data = 1.0
    #% if fault
    smooth = 1e-1  #% here
    #% else
    smooth = 1e-7
    #% endif


def main(seed):
    torch.manual_seed(seed)
    x = torch.rand(400, 1)
    t = profile(x) + 0.05 * torch.randn_like(x)
    net = nn.Sequential(nn.Linear(1, 32), Sine(), nn.Linear(32, 32), Sine(), nn.Linear(32, 1))
    with torch.no_grad():
        net[0].weight.mul_(8)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(1, 401):
        rows = torch.randint(400, (64,))
        fit = nn.functional.mse_loss(net(x[rows]), t[rows])
        bend = curvature(net, torch.rand(32, 1)).pow(2).mean()
        loss = Weights.data * fit + Weights.smooth * bend  #% here
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 50 == 0:
            print(f"step {step} total {loss.item():.4f} fit {fit.item():.4f} bend {bend.item():.3g}")
    grid = torch.linspace(0, 1, 200)[:, None]
    with torch.no_grad():
        print(f"profile error {nn.functional.mse_loss(net(grid), profile(grid)).item():.4f}")


if __name__ == "__main__":
    main(7)  #% seed
