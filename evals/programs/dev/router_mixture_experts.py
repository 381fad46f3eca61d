"""Sparse mixture of experts on four regimes, one regime per batch."""

import torch
import torch.nn as nn


class SparseMoE(nn.Module):
    def __init__(self, dim=8, experts=4, width=16):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, 1)) for _ in range(experts)
        )

    def forward(self, x, regime):
        out = x.new_zeros(len(x))
        for k in regime.unique().tolist():
            rows = regime == k
            out[rows] = self.experts[k](x[rows]).squeeze(-1)
        return out


def main():
    torch.manual_seed(0)  #% seed
    truth = torch.randn(4, 8)
    model = SparseMoE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    smooth = 0.0
    for step in range(1, 401):
        regime = torch.full((32,), int(torch.randint(4, (1,))))
        x = torch.randn(32, 8)
        y = (x * truth[regime]).sum(1).tanh()
        loss = nn.functional.mse_loss(model(x, regime), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        smooth = 0.95 * smooth + 0.05 * loss.item()
        if step % 40 == 0:
            print(f"step {step} regime {int(regime[0])} loss {loss.item():.4f} smoothed {smooth:.4f}")


main()
