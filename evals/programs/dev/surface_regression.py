"""Fit a noisy two-dimensional function; learning-rate schedule given in a config."""

import json

import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR

CONFIG = json.loads("""
{
  "seed": 0,
  "steps": 300,
  "batch": 64,
  "peak_lr": 0.02,
  "width": 48
}
""")
CONFIG["seed"] = 0  #% seed
#% if fault
CONFIG["warmup_steps"] = 4000  #% here
#% else
CONFIG["warmup_steps"] = 40
#% endif


def surface(p):
    return torch.sin(3 * p[:, :1]) * torch.cos(2 * p[:, 1:]) + 0.3 * p[:, :1]


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(2, width)
        self.mid = nn.Linear(width, width)
        self.down = nn.Linear(width, 1)

    def forward(self, x):
        return self.down(torch.tanh(self.mid(torch.tanh(self.up(x)))))


def main(cfg):
    torch.manual_seed(cfg["seed"])
    net = Mlp(cfg["width"])
    optimizer = torch.optim.SGD(net.parameters(), lr=cfg["peak_lr"] * 4, momentum=0.9)
    scheduler = LinearLR(optimizer, start_factor=1e-4, total_iters=cfg["warmup_steps"])  #% here
    grid = torch.rand(512, 2) * 2 - 1
    for step in range(1, cfg["steps"] + 1):
        p = torch.rand(cfg["batch"], 2) * 2 - 1
        loss = nn.functional.mse_loss(net(p), surface(p) + 0.05 * torch.randn(cfg["batch"], 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 25 == 0:
            with torch.no_grad():
                error = nn.functional.mse_loss(net(grid), surface(grid)).item()
            print(f"step {step:4d}  lr {scheduler.get_last_lr()[0]:.2e}  batch {loss.item():.4f}  grid {error:.4f}")


main(CONFIG)
