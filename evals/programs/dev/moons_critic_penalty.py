"""Wasserstein sampler for two moons: a critic with gradient penalty, five critic steps for each sampler step."""

import torch
from sklearn.datasets import make_moons
from torch import nn


def net(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def penalty(critic, real, fake):
    mix = torch.rand(len(real), 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


def main(seed):
    torch.manual_seed(seed)
    points = torch.tensor(make_moons(2000, noise=0.05, random_state=seed)[0], dtype=torch.float32)
    sampler, critic = net(2, 64, 64, 2), net(2, 64, 64, 1)
    sampler_opt = torch.optim.Adam(sampler.parameters(), lr=2e-3, betas=(0.0, 0.9))
    critic_opt = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.0, 0.9))
    for step in range(1, 121):
        for _ in range(4):
            real = points[torch.randint(2000, (64,))]
            fake = sampler(torch.randn(64, 2)).detach()
            critic_loss = critic(fake).mean() - critic(real).mean() + 2.0 * penalty(critic, real, fake)
            critic_opt.zero_grad()
            critic_loss.backward()
            critic_opt.step()
        sampler_loss = -critic(sampler(torch.randn(64, 2))).mean()
        sampler_opt.zero_grad()
        sampler_loss.backward()
        sampler_opt.step()
        if step % 12 == 0:
            with torch.no_grad():
                nearest = torch.cdist(sampler(torch.randn(300, 2)), points).min(1).values.mean().item()
            print(f"step {step} critic {critic_loss.item():+.4f} sampler {sampler_loss.item():+.4f} distance {nearest:.4f}")


main(0)  #% seed
