"""Forecast a noisy sine, feeding consecutive windows to an LSTM that keeps its state."""

import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)
        self.state = None

    def forward(self, x):
        y, self.state = self.lstm(x, self.state)
        #% if fault
        #% else
        self.state = tuple(s.detach() for s in self.state)
        #% endif
        return self.out(y)


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    t = torch.arange(0, 20 * 40 + 1) * 0.15
    series = torch.stack([torch.sin(t + p) for p in torch.rand(16) * 6.28]) + 0.05 * torch.randn(16, len(t))
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(3):
        model.state = None
        for k in range(0, len(t) - 1, 20):
            window = series[:, k : k + 21].unsqueeze(-1)
            loss = nn.functional.mse_loss(model(window[:, :-1]), window[:, 1:])  #% here
            optimizer.zero_grad()
            loss.backward()  #% here
            optimizer.step()
            if k % 200 == 0:
                print(f"epoch {epoch} window {k // 20} loss {loss.item():.4f}")


main()
