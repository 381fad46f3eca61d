"""Move a pretrained stripe detector to a finer set of stripe directions."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR


def stripes(n, directions):
    grid = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")) - 4
    label = torch.randint(directions, (n,))
    angle = math.pi * label / directions
    wave = angle.cos()[:, None, None] * grid[0] + angle.sin()[:, None, None] * grid[1]
    return torch.sin(1.2 * wave + 6.28 * torch.rand(n, 1, 1))[:, None] + 0.3 * torch.randn(n, 1, 9, 9), label


class Detector(nn.Module):
    def __init__(self, directions):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 5), nn.ReLU())
        self.norm = nn.BatchNorm1d(24)
        self.head = nn.Linear(24, directions)

    def forward(self, x):
        return self.head(self.norm(self.stem(x).square().mean((2, 3))))


def fit(model, optimizer, scheduler, x, y, epochs, every_batch):
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(50):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if every_batch:
                scheduler.step()
            total += loss.item() * len(rows)
        if not every_batch:
            scheduler.step()
        print(f"epoch {epoch} loss {total / len(x):.4f}")


def main():
    torch.manual_seed(0)  #% seed
    model = Detector(3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = stripes(800, 3)
    fit(model, optimizer, StepLR(optimizer, step_size=3, gamma=0.3), x, y, epochs=4, every_batch=False)

    model.stem.requires_grad_(False)
    #% if fault:a
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)  #% here:a
    model.head = nn.Linear(24, 6)  #% here:a
    #% else
    model.head = nn.Linear(24, 6)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    #% endif
    x, y = stripes(1200, 6)
    scheduler = StepLR(optimizer, step_size=3, gamma=0.3)  #% here:b
    #% if fault:b
    fit(model, optimizer, scheduler, x, y, epochs=8, every_batch=True)  #% here:b
    #% else
    fit(model, optimizer, scheduler, x, y, epochs=8, every_batch=False)
    #% endif

    model.eval()
    x, y = stripes(400, 6)
    with torch.no_grad():
        print(f"accuracy {(model(x).argmax(1) == y).float().mean().item():.3f}")


main()
