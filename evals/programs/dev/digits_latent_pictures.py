"""Variational autoencoder for digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, latent=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mu, self.logvar = nn.Linear(64, latent), nn.Linear(64, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decoder(z), mu, logvar


def loss_function(logits, x, mu, logvar):
    #% if fault
    reconstruction = F.binary_cross_entropy_with_logits(logits, x)  #% here
    #% else
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    #% endif
    divergence = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum() / len(x)
    return reconstruction + divergence, reconstruction, divergence


def main():
    torch.manual_seed(0)  #% seed
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    images = images[torch.randperm(len(images))]
    train, test = images[:1500], images[1500:]
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(14):
        for x in train[torch.randperm(1500)].split(50):
            logits, mu, logvar = model(x)
            loss, reconstruction, divergence = loss_function(logits, x, mu, logvar)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            rebuilt = torch.sigmoid(model(test)[0])
            unexplained = ((rebuilt - test) ** 2).mean() / test.var(0).mean()
        print(f"epoch {epoch} bce {reconstruction:.4f} kl {divergence:.4f} unexplained {unexplained:.3f}")


main()
