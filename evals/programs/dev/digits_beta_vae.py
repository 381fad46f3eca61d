"""Variational autoencoder of digits with a linear ramp of the KL weight."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent=6):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.to_mean, self.to_logvar = nn.Linear(64, latent), nn.Linear(64, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        h = self.encoder(x)
        mean, logvar = self.to_mean(h), self.to_logvar(h)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        return self.decoder(z), mean, logvar


def main():
    torch.manual_seed(0)  #% seed
    x = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(14):
        beta = min(1.0, max(0.0, (epoch - 3) / 8))
        sums = torch.zeros(3)
        for rows in torch.randperm(len(x)).split(64):
            logits, mean, logvar = model(x[rows])
            rec = nn.functional.binary_cross_entropy_with_logits(logits, x[rows], reduction="none").sum(1).mean()
            kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
            loss = rec + beta * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums += torch.tensor([loss.item(), rec.item(), kl.item()]) * len(rows) / len(x)
        print(f"epoch {epoch:2d} beta {beta:.2f} loss {sums[0]:.3f} reconstruction {sums[1]:.3f} kl {sums[2]:.3f}")


main()
