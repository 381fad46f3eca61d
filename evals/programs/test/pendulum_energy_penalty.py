"""Learn the motion of a pendulum; a second loss term asks that the rollout keeps its energy."""
import math

import torch
from torch import nn


def energy(state):
    return 0.5 * state[:, 1] ** 2 + 1 - torch.cos(state[:, 0])


def swing(state, dt=0.1, sub=10):
    for _ in range(sub):
        acc = -torch.sin(state[:, 0])
        v = state[:, 1] + acc * dt / sub
        state = torch.stack([state[:, 0] + v * dt / sub, v], 1)
    return state


class StepNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, s):
        return s + self.f(s)


def random_states(n):
    return torch.stack([(torch.rand(n) * 2 - 1) * math.pi / 2, torch.rand(n) * 2 - 1], 1)


def rollout(model, s, steps=8):
    for _ in range(steps):
        s = model(s)
    return s


torch.manual_seed(80)  #% seed
model = StepNet()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
# noisy single steps are all the measurements there are; energy comes from theory
seen = random_states(200)
noisy_next = swing(seen) + 0.15 * torch.randn(200, 2)
for it in range(1, 301):
    i = torch.randint(200, (32,))
    fit = nn.functional.mse_loss(model(seen[i]), noisy_next[i])
    s = random_states(64)
    drift = energy(rollout(model, s)) - energy(s)
    #% if fault
    penalty = torch.tensor([d.item() ** 2 for d in drift]).mean()  #% here
    #% else
    penalty = drift.square().mean()
    #% endif
    loss = fit + 4.0 * penalty  #% here
    opt.zero_grad()
    loss.backward()
    opt.step()
    if it % 20 == 0:
        print(f"it {it:3d} fit {fit.item():.4f} penalty {penalty.item():.4f}")
with torch.no_grad():
    s = random_states(500)
    print(f"energy drift {(energy(rollout(model, s)) - energy(s)).abs().mean().item():.4f}")
