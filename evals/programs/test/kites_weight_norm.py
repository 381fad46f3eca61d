"""Lift of a kite from wind and angle; weight normalisation on every layer."""
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def kites(n):
    wind, angle, area = torch.rand(n) * 2 - 1, torch.rand(n) * 2 - 1, torch.rand(n) * 2 - 1
    lift = (1 + wind) ** 2 * torch.sin(2.5 * angle) + 0.5 * area * wind
    return torch.stack([wind, angle, area], 1), lift + 0.05 * torch.randn(n)


class KiteNet(nn.Module):
    def __init__(self, width=28):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x))))).squeeze(1)


torch.manual_seed(132)  #% seed
net = KiteNet()
#% if fault
opt = torch.optim.Adam(net.parameters(), lr=5e-3)  #% here
for layer in (net.a, net.b, net.c):
    weight_norm(layer)
#% else
for layer in (net.a, net.b, net.c):
    weight_norm(layer)
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
#% endif
x, lift = kites(1200)
x_test, lift_test = kites(400)
for epoch in range(12):
    for idx in torch.randperm(1200).split(60):
        loss = nn.functional.mse_loss(net(x[idx]), lift[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        r2 = 1 - (net(x_test) - lift_test).square().mean() / lift_test.var()
    print(f"epoch {epoch} loss {loss.item():.4f} r2 {r2.item():.3f}")
