"""A wide network on 400 noisy digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)  #% seed
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
x = x + 0.18 * torch.randn_like(x)
order = torch.randperm(len(x))
train, valid = order[:400], order[400:1200]

net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(1, 41):
    net.train()
    running = 0.0
    for rows in train[torch.randperm(len(train))].split(50):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    if epoch % 4 == 0:
        net.eval()
        with torch.no_grad():
            logits = net(x[valid])
            valid_loss = nn.functional.cross_entropy(logits, y[valid]).item()
            valid_acc = (logits.argmax(1) == y[valid]).float().mean().item()
        print(f"epoch {epoch} train {running / 8:.4f} valid loss {valid_loss:.4f} valid acc {valid_acc:.3f}")
