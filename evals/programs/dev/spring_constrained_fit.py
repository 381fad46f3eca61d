"""Fit noisy positions of an oscillator with a network that should obey x'' = -k x."""

import torch
from torch import nn

K = 9.0
WEIGHT = 0.05


class Wave(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.outer = nn.Linear(width, 1)

    def forward(self, t):
        return self.outer(self.inner(t))


def residual(model, t):
    t = t.clone().requires_grad_(True)
    x = model(t)
    (v,) = torch.autograd.grad(x.sum(), t, create_graph=True)
    (a,) = torch.autograd.grad(v.sum(), t, create_graph=True)
    return (a + K * x).square().mean()


def main(seed):
    torch.manual_seed(seed)
    t = torch.rand(40, 1) * 1.2
    x = torch.cos(3 * t) + 0.05 * torch.randn_like(t)
    t_all = torch.linspace(0, 2.4, 60)[:, None]
    model = Wave()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(1, 601):
        rows = torch.randint(len(t), (16,))
        fit = nn.functional.mse_loss(model(t[rows]), x[rows])
        physics = residual(model, t_all)
        #% if fault
        loss = fit + WEIGHT * physics.item()  #% here
        #% else
        loss = fit + WEIGHT * physics
        #% endif
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 60 == 0:
            print(f"step {step} fit {fit.item():.5f} physics {physics.item():.4f} total {loss.item():.4f}")
    with torch.no_grad():
        error = (model(t_all) - torch.cos(3 * t_all)).square().mean().sqrt().item()
    print(f"extrapolation rmse {error:.3f}")


main(0)  #% seed
