"""Frequency regression in half precision with a gradient scaler that starts high."""

import torch
from torch import nn


def waves(n, length=32):
    frequency = 1 + 3 * torch.rand(n, 1)
    t = torch.linspace(0, 1, length)
    x = torch.sin(2 * torch.pi * (frequency * t + torch.rand(n, 1)))
    return x + 0.1 * torch.randn_like(x), (frequency - 2.5) / 0.87


def main():
    torch.manual_seed(0)  #% seed
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=200)
    x_test, y_test = waves(400)
    for step in range(1, 301):
        x, y = waves(64)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(net(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step % 20 == 0 or step < 5:
            with torch.no_grad():
                test = nn.functional.mse_loss(net(x_test), y_test).item()
            print(f"step {step} loss {loss.item():.4f} test mse {test:.4f} scale {scaler.get_scale():.0f}")


main()
