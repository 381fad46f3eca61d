"""Train a network on periodic signals, save it, and load it without allocating the weights twice."""

import torch
from torch import nn


class FourierNet(nn.Module):
    def __init__(self, waves=12):
        super().__init__()
        #% if fault
        self.frequencies = torch.arange(1.0, waves + 1)  #% here
        #% else
        self.register_buffer("frequencies", torch.arange(1.0, waves + 1))
        #% endif
        self.layers = nn.Sequential(nn.Linear(2 * waves, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, angle):
        phase = angle * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], dim=1))


def batch(n):
    angle = 6.28 * torch.rand(n, 1)
    return angle, torch.sin(2 * angle) * torch.cos(5 * angle)


def fit(net, steps, lr):
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(1, steps + 1):
        angle, value = batch(64)
        loss = nn.functional.mse_loss(net(angle), value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 40 == 0:
            print(f"step {step} loss {loss.item():.5f}")


def main():
    torch.manual_seed(0)  #% seed
    net = FourierNet()
    fit(net, steps=120, lr=1e-2)
    torch.save(net.state_dict(), "fourier.pt")

    with torch.device("meta"):
        resumed = FourierNet()
    resumed.load_state_dict(torch.load("fourier.pt"), assign=True)
    print("resumed")
    fit(resumed, steps=120, lr=2e-3)


main()
