"""Line orientation in noisy patches: plain SGD, updates spread over several small batches."""
import math

import torch
from torch import nn


def patches(n):
    k = torch.arange(n) * 6 // n  # recorded one orientation after the other
    angle = k * math.pi / 6 + 0.1 * torch.randn(n)
    u = torch.linspace(-1, 1, 9)
    gx, gy = torch.meshgrid(u, u, indexing="xy")
    dist = gx * torch.sin(angle)[:, None, None] - gy * torch.cos(angle)[:, None, None]
    img = torch.exp(-((dist / 0.2) ** 2)) + 0.3 * torch.randn(n, 9, 9)
    return img, k


class Orient(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(1, 10, 5)
        self.f = nn.Linear(250, 6)

    def forward(self, x):
        return self.f(torch.sigmoid(self.c(x[:, None])).flatten(1))


torch.manual_seed(114)  #% seed
x, k = patches(1600)
xv, kv = patches(400)
net, every = Orient(), 4
opt = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
micro = 0
for epoch in range(12):
    #% if fault:a
    for idx in torch.arange(1600).split(16):  #% here:a
    #% else
    for idx in torch.randperm(1600).split(16):
    #% endif
        loss = nn.functional.cross_entropy(net(x[idx]), k[idx]) / every
        loss.backward()
        micro += 1
        if micro % every == 0:
            opt.step()  #% here:b
            #% if fault:b
            #% else
            opt.zero_grad()
            #% endif
    with torch.no_grad():
        acc = (net(xv).argmax(1) == kv).float().mean().item()
    print(f"epoch {epoch} loss {loss.item() * every:.4f} accuracy {acc:.3f}")
