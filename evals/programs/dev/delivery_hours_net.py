"""Delivery time in hours from the order's features; a few orders travel very far."""

import torch
from torch import nn


def orders(n, generator):
    x = torch.randn(n, 5, generator=generator)
    hours = 11 + 2 * x[:, 0] + 1.5 * torch.relu(x[:, 1]) * x[:, 2].abs() + 3 * torch.relu(x[:, 3] - 0.5)
    return x, hours + 0.3 * torch.randn(n, generator=generator)


class RobustLoss(nn.Module):
    """Squared error that does not let single orders take over."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, predicted, actual):
        #% if fault
        return (predicted - actual).square().clamp(max=self.limit).mean()  #% here
        #% else
        return nn.functional.huber_loss(predicted, actual, delta=self.limit)
        #% endif


class DeliveryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2, self.out = nn.Linear(5, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        return self.out(torch.relu(self.hidden2(torch.relu(self.hidden1(x))))).squeeze(-1)


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, y = orders(1200, generator)
    x_new, y_new = orders(400, generator)
    net, criterion = DeliveryNet(), RobustLoss(limit=2.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(16):
        net.train()
        for rows in torch.randperm(len(x), generator=generator).split(60):
            optimizer.zero_grad()
            loss = criterion(net(x[rows]), y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
        net.eval()
        with torch.no_grad():
            mae = (net(x_new) - y_new).abs().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} mean error {mae:.3f} hours")


main()
