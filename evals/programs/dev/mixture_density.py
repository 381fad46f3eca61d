"""Mixture density network for a narrow, multi-valued function."""

import math

import torch
from torch import nn


class MixtureNet(nn.Module):
    def __init__(self, components=4, width=32):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.logits = nn.Linear(width, components)
        self.means = nn.Linear(width, components)
        self.log_scales = nn.Linear(width, components)

    def log_prob(self, x, y):
        h = self.trunk(x)
        log_scale = self.log_scales(h).clamp(min=-5)
        z = (y - self.means(h)) / log_scale.exp()
        log_normal = -0.5 * z.square() - log_scale - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.logits(h).log_softmax(-1) + log_normal, -1)


def sample(n):
    branch = torch.randint(0, 2, (n, 1)).float() * 2 - 1
    x = torch.rand(n, 1) * 2 - 1
    return x, branch * (0.4 + 0.3 * torch.sin(3 * x)) + 0.02 * torch.randn(n, 1)


def main():
    torch.manual_seed(0)  #% seed
    model = MixtureNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    x_test, y_test = sample(500)
    for step in range(1, 401):
        x, y = sample(128)
        loss = -model.log_prob(x, y).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        if step % 40 == 0:
            with torch.no_grad():
                print(f"step {step} nll {loss.item():.3f} test nll {-model.log_prob(x_test, y_test).mean().item():.3f}")


main()
