"""Variational autoencoder on digits, summed likelihood per image, KL weight raised slowly."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent=6):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.mu, self.logvar = nn.Linear(48, latent), nn.Linear(48, latent)
        self.dec = nn.Sequential(nn.Linear(latent, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x):
        h = self.enc(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.dec(z), mu, logvar


def elbo_terms(x, out, mu, logvar):
    recon = F.binary_cross_entropy_with_logits(out, x, reduction="sum") / len(x)
    kl = 0.5 * (mu.pow(2) + logvar.exp() - 1 - logvar).sum() / len(x)
    return recon, kl


if __name__ == "__main__":
    torch.manual_seed(33)  #% seed
    x = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    x = x[torch.randperm(len(x))]
    train, test = x[:1500], x[1500:]
    vae = VAE()
    opt = torch.optim.Adam(vae.parameters(), lr=4e-3)
    for epoch in range(20):
        beta = min(1.0, epoch / 12)
        for batch in train[torch.randperm(1500)].split(75):
            recon, kl = elbo_terms(batch, *vae(batch))
            loss = recon + beta * kl
            opt.zero_grad()
            loss.backward()
            opt.step()
        with torch.no_grad():
            r, k = elbo_terms(test, *vae(test))
        print(f"epoch {epoch:2d} beta {beta:.2f} loss {loss:.2f} | test recon {r:.2f} kl {k:.2f}")
