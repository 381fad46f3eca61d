"""Bilinear factor model fitted by turns: one optimizer per factor, ten steps each, the other factor rests."""
import torch
from torch import nn


class Bilinear(nn.Module):
    def __init__(self, rows, cols, rank=4):
        super().__init__()
        self.left = nn.Parameter(0.3 * torch.randn(rows, rank))
        self.right = nn.Parameter(0.3 * torch.randn(cols, rank))

    def forward(self, i, j):
        return (self.left[i] * self.right[j]).sum(-1)


torch.manual_seed(137)  #% seed
truth = torch.randn(50, 3) @ torch.randn(3, 40)
i, j = torch.randint(50, (1500,)), torch.randint(40, (1500,))
seen = truth[i, j] + 0.05 * torch.randn(1500)
model = Bilinear(50, 40)
turns = [torch.optim.Adam([model.left], lr=0.03), torch.optim.Adam([model.right], lr=0.03)]
for step in range(600):
    opt = turns[(step // 10) % 2]
    pick = torch.randint(1500, (96,))
    loss = nn.functional.mse_loss(model(i[pick], j[pick]), seen[pick])
    model.zero_grad()
    loss.backward()
    opt.step()
    if step % 75 == 74:
        print(f"step {step + 1} loss {loss.item():.4f}")
with torch.no_grad():
    whole = model.left @ model.right.T
print(f"unexplained {((whole - truth).square().mean() / truth.var()).item():.4f}")
