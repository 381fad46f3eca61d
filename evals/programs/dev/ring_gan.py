"""GAN on eight points of a ring."""

import math

import torch
from torch import nn

torch.manual_seed(0)  #% seed
ANGLES = torch.arange(8) * (2 * math.pi / 8)
CENTERS = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def real_samples(n):
    return CENTERS[torch.randint(8, (n,))] + 0.05 * torch.randn(n, 2)


generator = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
discriminator = nn.Sequential(nn.Linear(2, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1))
opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(96, 1), torch.zeros(96, 1)

for step in range(1, 501):
    real = real_samples(96)
    fake = generator(torch.randn(96, 8))
    d_loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()

    g_loss = bce(discriminator(fake), ones)
    opt_g.zero_grad()
    g_loss.backward()
    opt_g.step()

    if step % 50 == 0:
        with torch.no_grad():
            radius = generator(torch.randn(512, 8)).norm(dim=1)
        print(f"step {step} d_loss {d_loss.item():.3f} g_loss {g_loss.item():.3f} radius {radius.mean():.3f} +- {radius.std():.3f}")
