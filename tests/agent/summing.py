"""A small program that never clears its gradients, and the same repaired."""

from __future__ import annotations

PROGRAM = """\
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 8)
y = x.sum(1, keepdim=True)
for step in range(60):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
print(loss.item())
"""
REPAIRED = PROGRAM.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
