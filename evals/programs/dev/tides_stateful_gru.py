"""Forecast a tide gauge hour by hour: the series is read in its own order, the state goes from window to window."""

import math

import torch
from torch import nn

WINDOW, GAUGES = 24, 8


def gauges(hours, generator):
    t = torch.arange(hours, dtype=torch.float32)
    offset = 6.28 * torch.rand(GAUGES, 1, generator=generator)
    moon = torch.sin(2 * math.pi * t / 12.4 + offset) + 0.4 * torch.sin(2 * math.pi * t / 24 + 2 * offset)
    return moon + 0.1 * torch.randn(GAUGES, hours, generator=generator)


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.out = nn.Linear(24, 1)

    def forward(self, level, state=None):
        hidden, state = self.gru(level.unsqueeze(-1), state)
        return self.out(hidden).squeeze(-1), state


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    series = gauges(24 * 40 + 1, generator)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    for epoch in range(5):
        state, losses = None, []
        for start in range(0, 24 * 40, WINDOW):
            level, following = series[:, start : start + WINDOW], series[:, start + 1 : start + WINDOW + 1]
            forecast, state = model(level, state)
            loss = nn.functional.mse_loss(forecast, following)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = state.detach()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {sum(losses) / len(losses):.4f} last week {sum(losses[-7:]) / 7:.4f}")


main()
