"""Density estimation of a narrow banana with affine couplings; the negative log-density may well be below zero."""
import torch
from torch import nn


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x):
        keep, change = (x[:, 1:], x[:, :1]) if self.flip else (x[:, :1], x[:, 1:])
        s, t = self.net(keep).chunk(2, 1)
        change = (change - t) * torch.exp(-s)
        return torch.cat([change, keep] if self.flip else [keep, change], 1), -s.squeeze(1)


class Flow(nn.Module):
    def __init__(self, layers=4):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 1) for i in range(layers))

    def log_prob(self, x):
        total = 0.0
        for layer in self.layers:
            x, ldj = layer(x)
            total = total + ldj
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1) + total


def banana(n):
    a = 0.3 * torch.randn(n)
    return torch.stack([a, 2 * a**2 + 0.08 * torch.randn(n)], 1)


torch.manual_seed(123)  #% seed
flow = Flow()
opt = torch.optim.Adam(flow.parameters(), lr=6e-3)
for step in range(1, 401):
    loss = -flow.log_prob(banana(64)).mean()
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
    opt.step()
    if step % 50 == 0:
        print(f"step {step} nll {loss.item():.4f}")
with torch.no_grad():
    print(f"held-out nll {-flow.log_prob(banana(2000)).mean().item():.4f}")
