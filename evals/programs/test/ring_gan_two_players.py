"""A small GAN learns eight Gaussians on a ring; the losses swing, the samples get better."""
import math

import torch
from torch import nn
from torch.nn.functional import softplus


def ring(n):
    k = torch.randint(8, (n,)) * (2 * math.pi / 8)
    return torch.stack([k.cos(), k.sin()], 1) * 1.5 + 0.1 * torch.randn(n, 2)


def net(i, o, w=64):
    return nn.Sequential(nn.Linear(i, w), nn.LeakyReLU(0.2), nn.Linear(w, w), nn.LeakyReLU(0.2), nn.Linear(w, o))


def energy_distance(a, b):
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


torch.manual_seed(10)  #% seed
G, D = net(8, 2), net(2, 1)
opt_g = torch.optim.Adam(G.parameters(), lr=3e-3, betas=(0.5, 0.99))
opt_d = torch.optim.Adam(D.parameters(), lr=3e-3, betas=(0.5, 0.99))
start = energy_distance(G(torch.randn(500, 8)).detach(), ring(500))

for it in range(1, 501):
    real, fake = ring(64), G(torch.randn(64, 8))
    d_loss = softplus(-D(real + 0.2 * torch.randn_like(real))).mean() + softplus(D(fake.detach())).mean()
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()

    g_loss = softplus(-D(fake)).mean()
    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()
    if it % 50 == 0:
        print(f"it {it} d {d_loss.item():.3f} g {g_loss.item():.3f}")

with torch.no_grad():
    now = energy_distance(G(torch.randn(1000, 8)), ring(1000))
print(f"energy distance {start:.3f} -> {now:.4f}")
