"""Strength of synthetic concrete mixes with a triangular learning rate that visits large values on purpose."""
import torch
import torch.nn as nn


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ELU())

    def forward(self, x):
        return x + self.inner(x)


def mixes(n):
    parts = torch.rand(n, 7)
    water, cement, age = parts[:, 0], parts[:, 1], parts[:, 2]
    strength = 3 * cement / (0.4 + water) + torch.log1p(9 * age) - parts[:, 3] * parts[:, 4] + 0.1 * torch.randn(n)
    return parts * 2 - 1, (strength - 3.0) / 1.6


torch.manual_seed(23)  #% seed
x, y = mixes(2000)
x_val, y_val = mixes(500)
net = nn.Sequential(nn.Linear(7, 32), Residual(32), Residual(32), nn.Linear(32, 1))
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
cycle = torch.optim.lr_scheduler.CyclicLR(opt, base_lr=0.002, max_lr=0.05, step_size_up=60, cycle_momentum=False)

for step in range(1, 481):
    rows = torch.randint(len(x), (40,))
    loss = nn.functional.mse_loss(net(x[rows]).squeeze(1), y[rows])
    opt.zero_grad()
    loss.backward()
    opt.step()
    cycle.step()
    if step % 30 == 0:
        with torch.no_grad():
            val = nn.functional.mse_loss(net(x_val).squeeze(1), y_val).item()
        print(f"step {step:3d}  lr {cycle.get_last_lr()[0]:.4f}  train {loss.item():.4f}  val mse {val:.4f}")
