"""Surrogate for a smooth field: residual layers with sigmoid gates."""

import torch
import torch.nn as nn


class GatedLayer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        value = torch.tanh(self.value(x))
        #% if fault
        gate *= value  #% here
        return x + gate
        #% else
        return x + gate * value
        #% endif


class Field(nn.Module):
    def __init__(self, width=32, depth=2):
        super().__init__()
        self.inp = nn.Linear(3, width)
        self.layers = nn.Sequential(*(GatedLayer(width) for _ in range(depth)))
        self.out = nn.Linear(width, 1)

    def forward(self, p):
        return self.out(self.layers(self.inp(p)))


def target(p):
    return (p[:, :1] * p[:, 1:2]).cos() + p[:, 2:].square()


if __name__ == "__main__":
    torch.manual_seed(0)  #% seed
    net = Field()
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    for it in range(150):
        p = torch.randn(64, 3)
        loss = nn.functional.mse_loss(net(p), target(p))
        adam.zero_grad()
        loss.backward()
        adam.step()
        if it % 10 == 0:
            print("iteration", it, "loss", loss.item())
