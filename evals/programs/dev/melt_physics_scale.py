"""Cooling curves: a network plus a physical law whose rate is learned along."""

import torch
from torch import nn


class CoolingLaw(nn.Module):
    """Newton's law, ambient + (start - ambient) * exp(-rate * time), rate > 0, and a slow drift."""

    def __init__(self):
        super().__init__()
        self.log_rate = nn.Parameter(torch.tensor(0.0))
        self.drift = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, time, start, ambient):
        #% if fault
        rate = nn.Parameter(self.log_rate.exp())  #% here
        #% else
        rate = self.log_rate.exp()
        #% endif
        return ambient + (start - ambient) * torch.exp(-rate * time) + 0.05 * self.drift(ambient)


def curves(n, generator):
    time = 3 * torch.rand(n, 1, generator=generator)
    start, ambient = 1 + torch.rand(n, 1, generator=generator), torch.rand(n, 1, generator=generator) * 0.5
    seen = ambient + (start - ambient) * torch.exp(-0.35 * time) + 0.01 * torch.randn(n, 1, generator=generator)
    return time, start, ambient, seen


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    model = CoolingLaw()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    *inputs_test, seen_test = curves(400, generator)
    for step in range(1, 201):
        *inputs, seen = curves(32, generator)
        loss = nn.functional.mse_loss(model(*inputs), seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            with torch.no_grad():
                rmse = nn.functional.mse_loss(model(*inputs_test), seen_test).sqrt().item()
            print(f"step {step} loss {loss.item():.5f} rate {model.log_rate.exp().item():.3f} test rmse {rmse:.4f}")


main()
