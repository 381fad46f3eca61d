"""A generator learns a two-dimensional spiral distribution against a critic."""
import torch
import torch.nn.functional as F
from torch import nn


def mlp(*sizes):
    mods = []
    for a, b in zip(sizes, sizes[1:]):
        mods += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*mods[:-1])


class AdversarialTrainer:
    def __init__(self, noise=4):
        self.noise = noise
        self.generator, self.critic = mlp(noise, 48, 48, 2), mlp(2, 48, 48, 1)
        self.g_opt = torch.optim.Adam(self.generator.parameters(), lr=2e-3, betas=(0.5, 0.9))
        self.c_opt = torch.optim.Adam(self.critic.parameters(), lr=2e-3, betas=(0.5, 0.9))

    def sample(self, n):
        return self.generator(torch.randn(n, self.noise))

    def critic_step(self, real):
        fake = self.sample(len(real)).detach()
        blur = lambda t: t + 0.1 * torch.randn_like(t)
        loss = F.relu(1 - self.critic(blur(real))).mean() + F.relu(1 + self.critic(blur(fake))).mean()
        self.c_opt.zero_grad()
        loss.backward()
        self.c_opt.step()
        return loss.item()

    def generator_step(self, n):
        #% if fault
        fake = self.sample(n).detach()  #% here
        #% else
        fake = self.sample(n)
        #% endif
        loss = -self.critic(fake).mean()
        self.g_opt.zero_grad()
        loss.backward()
        self.g_opt.step()
        return loss.item()


def curve(n):
    t = torch.rand(n) * 4.5
    return torch.stack([t.cos() * t / 2, t.sin() * t / 2], 1) + 0.05 * torch.randn(n, 2)


def mmd(a, b):
    k = lambda p, q: torch.exp(-torch.cdist(p, q).square()).mean()
    return (k(a, a) + k(b, b) - 2 * k(a, b)).item()


if __name__ == "__main__":
    torch.manual_seed(81)  #% seed
    trainer = AdversarialTrainer()
    for step in range(1, 351):
        c = trainer.critic_step(curve(64))
        g = trainer.generator_step(64)
        if step % 50 == 0:
            print(f"step {step} critic {c:.3f} generator {g:.3f}")
    with torch.no_grad():
        print(f"mmd {mmd(trainer.sample(800), curve(800)):.4f}")
