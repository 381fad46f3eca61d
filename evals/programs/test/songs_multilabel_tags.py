"""Tagging songs: every song carries any number of eight tags, described by 24 audio features."""
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from torch import nn


@dataclass
class Settings:
    tags: int = 8
    features: int = 24
    hidden: int = 64
    lr: float = 3e-3
    epochs: int = 20
    batch_size: int = 50
    seed: int = 12


class TagNet(nn.Module):
    def __init__(self, s: Settings):
        super().__init__()
        self.norm = nn.BatchNorm1d(s.features)
        self.fc1 = nn.Linear(s.features, s.hidden)
        self.fc2 = nn.Linear(s.hidden, s.tags)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(self.norm(x))))


def f1(net, x, y):
    net.eval()
    with torch.no_grad():
        chosen = torch.sigmoid(net(x)) > 0.5
    return f1_score(y.numpy(), chosen.numpy(), average="micro", zero_division=0)


def main(s: Settings):
    torch.manual_seed(s.seed)
    x, y = make_multilabel_classification(
        n_samples=1600, n_features=s.features, n_classes=s.tags, n_labels=3, random_state=s.seed
    )
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.tensor(y, dtype=torch.float32)
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
            print(f"{epoch + 1:02d}/{s.epochs} loss={np.mean(losses):.4f} val_f1={f1(net, xv, yv):.4f}")


if __name__ == "__main__":
    np.random.seed(0)  #% seed
    main(Settings(seed=12))  #% seed
