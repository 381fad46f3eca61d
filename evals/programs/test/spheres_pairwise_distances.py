"""Multidimensional scaling by gradient: an encoder places items so that distances match given ones."""
import torch
from torch import nn


class Placer(nn.Module):
    def __init__(self, d_in, d_out=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d_in, 32), nn.Tanh(), nn.Linear(32, d_out))

    def forward(self, x):
        return self.net(x)


def euclid(a, b):
    #% if fault
    return ((a - b) ** 2).sum(-1).sqrt()  #% here
    #% else
    return ((a - b) ** 2).sum(-1).clamp(min=1e-12).sqrt()
    #% endif


torch.manual_seed(74)  #% seed
items = torch.randn(300, 9)
items[:, 3:] *= 0.2
placer = Placer(9)
opt = torch.optim.Adam(placer.parameters(), lr=5e-3)
for step in range(1, 251):
    i, j = torch.randint(300, (2, 40))
    wanted = (items[i] - items[j]).norm(dim=1)
    stress = (euclid(placer(items[i]), placer(items[j])) - wanted).square().mean()
    opt.zero_grad()
    stress.backward()
    opt.step()
    if step % 25 == 0:
        print(f"step {step:3d} stress {stress.item():.5f}")
