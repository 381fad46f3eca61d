"""Heteroscedastic regression: a network that predicts mean and spread of disease progression."""

import math

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.distributions import Normal


class GaussianHead(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mean = nn.Linear(width, 1)
        self.log_scale = nn.Linear(width, 1)

    def forward(self, h):
        return Normal(self.mean(h).squeeze(-1), self.log_scale(h).squeeze(-1).clamp(-4, 4).exp())


class DensityNet(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(10, width), nn.Tanh())
        self.head = GaussianHead(width)

    def forward(self, x):
        return self.head(self.encoder(x))


def standardized():
    bunch = load_diabetes()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target, dtype=torch.float32)
    return x / x.std(0), (y - y.mean()) / y.std()


def main(seed=0, epochs=25):  #% seed
    torch.manual_seed(seed)
    x, y = standardized()
    shuffled = torch.randperm(len(x))
    train, test = shuffled[:350], shuffled[350:]
    model = DensityNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    for epoch in range(epochs):
        seen = 0.0
        for index in train[torch.randperm(len(train))].split(50):
            optimizer.zero_grad(set_to_none=True)
            log_likelihood = model(x[index]).log_prob(y[index])
            #% if fault
            loss = log_likelihood.mean()  #% here
            #% else
            loss = -log_likelihood.mean()
            #% endif
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            seen += loss.item() * len(index)
        with torch.no_grad():
            held_out = model(x[test]).log_prob(y[test]).mean().item()
            error = (model(x[test]).mean - y[test]).pow(2).mean().item()
        print(f"{epoch:02d} objective {seen / len(train):+.3f} test log-likelihood {held_out:+.3f} rmse {math.sqrt(error):.3f}")


main()
