"""Plain loop on digits: rows in, class out."""
import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(130)  #% seed
digits = load_digits()
x = torch.tensor(digits.data / 16 - 0.3, dtype=torch.float32)
y = torch.tensor(digits.target)
shuffle = torch.randperm(len(y))
x, y = x[shuffle], y[shuffle]

net = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.06, momentum=0.9)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(8):
    for i in range(0, 1400, 40):
        #% if fault
        optimizer.zero_grad  #% here
        #% else
        optimizer.zero_grad()
        #% endif
        loss = loss_fn(net(x[i : i + 40]), y[i : i + 40])
        loss.backward()
        optimizer.step()
        if i % 400 == 0:
            print(f"epoch {epoch} sample {i} loss {loss.item():.4f}")
with torch.no_grad():
    print("test accuracy:", (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
