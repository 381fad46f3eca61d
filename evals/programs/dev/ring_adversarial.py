"""Adversarial refinement: a generator turns coarse blobs into a ring under a critic's eyes."""

import math

import torch
from torch import nn


def ring(n):
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], 1) * (1 + 0.05 * torch.randn(n, 1))


class AdversarialTrainer:
    def __init__(self):
        self.generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        self.critic = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
        self.g_opt = torch.optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
        self.c_opt = torch.optim.Adam(self.critic.parameters(), lr=1e-3, betas=(0.5, 0.99))

    def critic_step(self, real, fake):
        self.c_opt.zero_grad()
        loss = nn.functional.softplus(-self.critic(real)).mean() + nn.functional.softplus(self.critic(fake.detach())).mean()
        loss.backward()
        self.c_opt.step()
        return loss.item()

    def generator_step(self, fake):
        self.g_opt.zero_grad()
        #% if fault
        loss = nn.functional.softplus(-self.critic(fake.detach())).mean()  #% here
        #% else
        loss = nn.functional.softplus(-self.critic(fake)).mean()
        #% endif
        loss.backward()
        self.g_opt.step()
        return loss.item()

    def run(self, steps):
        for step in range(1, steps + 1):
            real, fake = ring(64), self.generator(torch.randn(64, 4))
            c_loss = self.critic_step(real, fake)
            g_loss = self.generator_step(fake)
            if step % 40 == 0:
                with torch.no_grad():
                    distance = (self.generator(torch.randn(400, 4)).norm(dim=1) - 1).abs().mean().item()
                print(f"step {step} critic {c_loss:.4f} generator {g_loss:.4f} distance to the ring {distance:.4f}")


torch.manual_seed(0)  #% seed
AdversarialTrainer().run(400)
