"""A deep residual regressor whose branches start closed: every block has a gain that begins at zero."""

import torch
from torch import nn


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.gain * self.inside(x)


class Stack(nn.Module):
    def __init__(self, inputs, width=24, depth=12):
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.branches = nn.ModuleList(Branch(width) for _ in range(depth))
        self.leave = nn.Linear(width, 1)

    def forward(self, x):
        x = self.enter(x)
        for branch in self.branches:
            x = branch(x)
        return self.leave(x).squeeze(-1)


def sample(n):
    x = torch.rand(n, 3) * 2 - 1
    return x, torch.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2]


torch.manual_seed(0)  #% seed
net = Stack(3)
optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
x_test, y_test = sample(500)
for step in range(1, 251):
    x, y = sample(64)
    loss = nn.functional.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        with torch.no_grad():
            error = nn.functional.mse_loss(net(x_test), y_test).item()
        gains = [round(b.gain.item(), 2) for b in net.branches][:4]
        print(f"step {step} loss {loss.item():.4f} test {error:.4f} gains {gains}")
