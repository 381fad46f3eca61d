"""Tumours labelled by annotators who disagree in one case of six; the best epoch on validation data is kept."""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

torch.manual_seed(0)  #% seed
x, y = load_breast_cancer(return_X_y=True)
x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
y = torch.tensor(y)
y = torch.where(torch.rand(len(y)) < 1 / 6, 1 - y, y)
order = torch.randperm(len(y))
train, valid = order[:260], order[260:]

net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
best_loss, best_state = float("inf"), None

for epoch in range(30):
    for rows in train[torch.randperm(len(train))].split(26):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        valid_loss = nn.functional.cross_entropy(net(x[valid]), y[valid]).item()
    if valid_loss < best_loss:
        best_loss = valid_loss
        #% if fault
        best_state = net.state_dict()  #% here
        #% else
        best_state = {name: value.clone() for name, value in net.state_dict().items()}
        #% endif
    if epoch % 3 == 0:
        print(f"epoch {epoch} loss {loss.item():.4f} valid {valid_loss:.4f} best {best_loss:.4f}")

net.load_state_dict(best_state)
with torch.no_grad():
    restored = nn.functional.cross_entropy(net(x[valid]), y[valid]).item()
print(f"best valid loss {best_loss:.4f}")
print(f"restored valid loss {restored:.4f}")
