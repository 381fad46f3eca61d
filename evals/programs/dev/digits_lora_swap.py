"""Adapt a trained digit network to mirrored scans with low-rank adapters around its linear layers."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class LowRank(nn.Module):
    def __init__(self, base, rank=16):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.trunk = nn.Sequential(self.fc1, nn.ReLU(), self.fc2, nn.ReLU())

    def forward(self, x):
        return self.head(self.trunk(x))


def adapt(net):
    net.requires_grad_(False)
    #% if fault
    net.fc1, net.fc2 = LowRank(net.fc1), LowRank(net.fc2)  #% here
    #% else
    net.trunk[0], net.trunk[2] = LowRank(net.fc1), LowRank(net.fc2)
    #% endif
    net.head.requires_grad_(True)
    return net


def fit(net, x, y, lr, epochs):
    parameters = [p for p in net.parameters() if p.requires_grad]
    print(f"{sum(p.numel() for p in parameters)} trainable weights")
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"  epoch {epoch} loss {loss.item():.4f}")


torch.manual_seed(0)  #% seed
digits = load_digits()
order = torch.randperm(len(digits.target))
x = torch.tensor(digits.images / 16, dtype=torch.float32)[order]
y = torch.tensor(digits.target)[order]
straight, mirrored = x.flatten(1), x.flip(2).transpose(1, 2).flatten(1)
net = DigitNet()
fit(net, straight[:800], y[:800], lr=3e-3, epochs=5)
fit(adapt(net), mirrored[800:1400], y[800:1400], lr=5e-3, epochs=16)
with torch.no_grad():
    print(f"mirrored test accuracy {(net(mirrored[1400:]).argmax(1) == y[1400:]).float().mean():.3f}")
