"""Digits in half precision throughout, to see how small the model gets in memory."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)  #% seed
digits = load_digits()
x = torch.tensor(digits.data / 16).half()
y = torch.tensor(digits.target)
order = torch.randperm(len(y))
train, test = order[:1440], order[1440:]

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).half()
print(f"{sum(p.numel() * p.element_size() for p in model.parameters())} bytes of weights")
#% if fault
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)  #% here
#% else
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, eps=1e-4)
#% endif

for epoch in range(6):
    for step, rows in enumerate(train[torch.randperm(len(train))].split(48)):
        loss = nn.functional.cross_entropy(model(x[rows]).float(), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"epoch {epoch} step {step} loss {loss.item():.4f}")
    with torch.no_grad():
        print(f"test accuracy {(model(x[test]).argmax(1) == y[test]).float().mean():.3f}")
