"""Adversarial sampling of eight blobs: discriminator and generator with an optimizer each."""

import argparse
import math

import torch
from torch import nn, optim


def mlp(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers[:-1])


def blobs(n):
    angle = torch.randint(8, (n,)) * (math.pi / 4)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)  #% seed
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--lr", type=float, default=2e-3)
    opt = parser.parse_args()
    torch.manual_seed(opt.seed)
    netG, netD = mlp(4, 48, 48, 2), mlp(2, 48, 48, 1)
    optimizerD = optim.Adam(netD.parameters(), lr=opt.lr, betas=(0.5, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=opt.lr, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    real, fake = torch.ones(64, 1), torch.zeros(64, 1)
    for step in range(1, opt.steps + 1):
        netD.zero_grad()
        sample = netG(torch.randn(64, 4))
        errD = criterion(netD(blobs(64)), real) + criterion(netD(sample.detach()), fake)
        errD.backward()
        optimizerD.step()

        netG.zero_grad()
        errG = criterion(netD(sample), real)
        errG.backward()
        #% if fault
        optimizerD.step()  #% here
        #% else
        optimizerG.step()
        #% endif
        if step % 40 == 0:
            with torch.no_grad():
                radius = netG(torch.randn(500, 4)).norm(dim=1).mean().item()
            print(f"[{step}/{opt.steps}] Loss_D {errD.item():.4f} Loss_G {errG.item():.4f} radius {radius:.3f}")


main()
