"""Daily temperature of a mountain station from the readings of its neighbours."""
import torch
from torch import nn


def mlp(sizes, act):
    layers = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(n_in, n_out), act()]
    #% if fault
    return nn.Sequential(*layers)  #% here
    #% else
    return nn.Sequential(*layers[:-1])
    #% endif


torch.manual_seed(36)  #% seed
season = torch.rand(1800) * 6.28
valley = 1.2 * torch.cos(season) + 0.4 * torch.randn(1800)
neighbours = torch.stack([valley + 0.2 * torch.randn(1800) for _ in range(5)] + [season.sin(), season.cos()], 1)
summit = valley * 0.8 - 0.5 + 0.3 * valley.abs()

net = mlp([7, 32, 32, 1], nn.ReLU)
opt = torch.optim.RAdam(net.parameters(), lr=4e-3)
train, test = torch.arange(1400), torch.arange(1400, 1800)
for epoch in range(12):
    for idx in train[torch.randperm(1400)].split(50):
        loss = (net(neighbours[idx])[:, 0] - summit[idx]).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        guess = net(neighbours[test])[:, 0]
        r2 = 1 - (guess - summit[test]).square().mean() / summit[test].var()
    print(f"epoch {epoch:2d}: mse {loss.item():.4f} r2 {r2.item():.3f}")
