"""Sparse autoencoder for digit patches: few active code units should explain a patch."""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import nn


@dataclass(frozen=True)
class Settings:
    seed: int = 0  #% seed
    code: int = 48
    lr: float = 3e-3
    epochs: int = 10
    batch: int = 64
    #% if fault
    sparsity: float = 3.0  #% here
    #% else
    sparsity: float = 0.003
    #% endif


class SparseCoder(nn.Module):
    def __init__(self, pixels, code):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(pixels, code), nn.ReLU())
        self.decode = nn.Linear(code, pixels)

    def forward(self, x):
        code = self.encode(x)
        return self.decode(code), code


def objective(patch, rebuilt, code, sparsity):
    return nn.functional.mse_loss(rebuilt, patch) + sparsity * code.abs().mean()  #% here


def main(s):
    torch.manual_seed(s.seed)
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    images = images[torch.randperm(len(images))]
    train, test = images[:1500], images[1500:]
    model = SparseCoder(64, s.code)
    optimizer = torch.optim.Adam(model.parameters(), lr=s.lr)
    variance = test.var(0).mean()
    for epoch in range(s.epochs):
        for batch in train[torch.randperm(len(train))].split(s.batch):
            rebuilt, code = model(batch)
            loss = objective(batch, rebuilt, code, s.sparsity)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            rebuilt, code = model(test)
            explained = 1 - (rebuilt - test).square().mean() / variance
        print(f"epoch {epoch} loss {loss:.4f} active {(code > 0.01).float().mean():.3f} explained {explained:.3f}")


main(Settings())
