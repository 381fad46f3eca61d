"""Uncertainty from dropout: predictions are averaged over thirty passes with dropout on."""

import torch
from torch import nn


def bumpy(x):
    return torch.sin(4 * x[:, 0]) * torch.exp(-x[:, 1].abs())


class DropNet(nn.Module):
    def __init__(self, width=64, rate=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.layers(x).squeeze(-1)

    @torch.no_grad()
    def sample(self, x, passes=30):
        """Mean and spread over passes; dropout stays active, which is what makes the passes differ."""
        self.train()
        outputs = torch.stack([self(x) for _ in range(passes)])
        return outputs.mean(0), outputs.std(0)


def main():
    torch.manual_seed(0)  #% seed
    x = torch.rand(800, 2) * 2 - 1
    y = bumpy(x) + 0.05 * torch.randn(800)
    x_test = torch.rand(300, 2) * 2 - 1
    net = DropNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(20):
        for rows in torch.randperm(800).split(40):
            loss = nn.functional.mse_loss(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 2:
            mean, spread = net.sample(x_test)
            rmse = (mean - bumpy(x_test)).square().mean().sqrt().item()
            print(f"epoch {epoch} loss {loss.item():.4f} rmse of the mean {rmse:.4f} typical spread {spread.mean().item():.4f}")


main()
