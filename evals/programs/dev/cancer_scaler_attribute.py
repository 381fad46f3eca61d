"""Tumours: the model standardises its own inputs, so that it can be used on raw values."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn


class Standardize(nn.Module):
    def __init__(self, features):
        super().__init__()
        #% if fault
        self.mean, self.std = torch.zeros(features), torch.ones(features)  #% here
        #% else
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        #% endif

    def fit(self, x):
        self.mean = x.mean(0)
        self.std = x.std(0)
        return self

    def forward(self, x):
        return (x - self.mean) / self.std


class TumourModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = Standardize(30)
        self.layers = nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 2))

    def forward(self, x):
        return self.layers(self.scale(x))


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_breast_cancer(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    train, test = order[:430], order[430:]
    model = TumourModel()
    model.scale.fit(x[train])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(10):
        for rows in train[torch.randperm(430)].split(43):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f} test {accuracy(model, x[test], y[test]):.3f}")
    torch.save(model.state_dict(), "tumours.pt")

    deployed = TumourModel()
    deployed.load_state_dict(torch.load("tumours.pt"))
    print(f"deployed model {accuracy(deployed, x[test], y[test]):.3f}")


main()
