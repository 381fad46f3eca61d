"""Parity of three hidden bits among sixteen."""

import torch
from torch import nn

BITS, RELEVANT = 16, (2, 7, 11)


def draw(n):
    x = torch.randint(0, 2, (n, BITS)).float() * 2 - 1
    return x, (x[:, RELEVANT].prod(1) > 0).float()


torch.manual_seed(0)  #% seed
model = nn.Sequential(nn.Linear(BITS, 128), nn.ReLU(), nn.Linear(128, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
x_test, y_test = draw(500)
for step in range(1, 601):
    x, y = draw(128)
    loss = nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        with torch.no_grad():
            accuracy = ((model(x_test).squeeze(1) > 0).float() == y_test).float().mean().item()
        print(f"step {step}: loss {loss.item():.4f}, accuracy {accuracy:.3f}")
