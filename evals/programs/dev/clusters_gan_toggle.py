"""Sample from three clusters; the discriminator is switched off while the generator is updated."""

import torch
from torch import nn


def clusters(n):
    centers = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centers[torch.randint(3, (n,))] + 0.15 * torch.randn(n, 2)


def toggle(net, on):
    for p in net.parameters():
        p.requires_grad = on


def distance(sample, real):
    """How far samples are from the data and the data from samples, on average."""
    d = torch.cdist(sample, real)
    return (d.min(0).values.mean() + d.min(1).values.mean()).item() / 2


class Gan(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.g = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.d = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))
        self.loss = nn.BCEWithLogitsLoss()

    def d_loss(self, real):
        fake = self.g(torch.randn(len(real), 6)).detach()
        scores = self.d(torch.cat([real, fake]))
        return self.loss(scores, torch.cat([torch.ones(len(real), 1), torch.zeros(len(real), 1)]))

    def g_loss(self, n):
        return self.loss(self.d(self.g(torch.randn(n, 6))), torch.ones(n, 1))


def main():
    torch.manual_seed(0)  #% seed
    gan = Gan()
    g_opt = torch.optim.Adam(gan.g.parameters(), lr=1e-3, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(gan.d.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for step in range(1, 451):
        #% if fault
        #% else
        toggle(gan.d, True)
        #% endif
        d_loss = gan.d_loss(clusters(64))
        if d_loss.requires_grad:
            d_opt.zero_grad()
            d_loss.backward()
            d_opt.step()

        toggle(gan.d, False)  #% here
        g_opt.zero_grad()
        g_loss = gan.g_loss(64)
        g_loss.backward()
        g_opt.step()
        if step % 45 == 0:
            with torch.no_grad():
                far = distance(gan.g(torch.randn(300, 6)), clusters(300))
            print(f"step {step} d {d_loss.item():.4f} g {g_loss.item():.4f} distance {far:.3f}")


main()
