"""Tagging songs: every song carries any number of eight tags, some of them rare, described by 24 audio features."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass
class Settings:
    tags: int = 8
    features: int = 24
    hidden: int = 64
    lr: float = 3e-3
    epochs: int = 20
    batch_size: int = 50
    seed: int = 0


class TagNet(nn.Module):
    def __init__(self, s: Settings):
        super().__init__()
        self.norm = nn.BatchNorm1d(s.features)
        self.fc1 = nn.Linear(s.features, s.hidden)
        self.fc2 = nn.Linear(s.hidden, s.tags)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(self.norm(x))))


def exact_match(net, x, y):
    net.eval()
    with torch.no_grad():
        chosen = torch.sigmoid(net(x)) > 0.5
    return (chosen == y.bool()).all(1).float().mean().item()


def main(s: Settings):
    torch.manual_seed(s.seed)
    x = torch.randn(1600, s.features) * 3 + 1
    taste = torch.randn(s.features, s.tags) / s.features**0.5
    rarity = torch.linspace(-1.5, 1.5, s.tags)
    y = ((x - 1) / 3 @ taste + 0.2 * torch.randn(1600, s.tags) > rarity).float()
    xt, yt, xv, yv = x[:1200], y[:1200], x[1200:], y[1200:]

    net = TagNet(s)
    #% if fault
    loss_fn = nn.CrossEntropyLoss()  #% here
    #% else
    loss_fn = nn.BCEWithLogitsLoss()
    #% endif
    optimizer = torch.optim.Adam(net.parameters(), lr=s.lr)
    for epoch in range(s.epochs):
        net.train()
        losses = []
        for rows in np.array_split(np.random.permutation(len(xt)), len(xt) // s.batch_size):
            loss = loss_fn(net(xt[rows]), yt[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 4 == 3:
            print(f"{epoch + 1:02d}/{s.epochs} loss={np.mean(losses):.4f} val_exact={exact_match(net, xv, yv):.4f}")


if __name__ == "__main__":
    np.random.seed(0)  #% seed
    main(Settings(seed=3))  #% seed
