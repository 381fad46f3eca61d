"""A small mobile network for digits whose widths come from a multiplier."""

import torch
from sklearn.datasets import load_digits
from torch import nn

#% if fault
MULTIPLIER = 0.05  #% here
#% else
MULTIPLIER = 1.0
#% endif


def scaled(channels):
    return max(1, int(channels * MULTIPLIER))


def separable(before, after, stride):
    return nn.Sequential(
        nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before),
        nn.Conv2d(before, after, 1),
        nn.ReLU(),
    )


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        a, b, c = scaled(16), scaled(24), scaled(32)
        self.stem = nn.Sequential(nn.Conv2d(1, a, 3, padding=1), nn.ReLU())
        self.blocks = nn.Sequential(separable(a, b, 2), separable(b, c, 2))
        self.classifier = nn.Linear(4 * c, 10)

    def forward(self, x):
        return self.classifier(self.blocks(self.stem(x)).flatten(1))


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


torch.manual_seed(0)  #% seed
digits = load_digits()
x = torch.tensor(digits.images[:, None] / 8 - 1, dtype=torch.float32)
y = torch.tensor(digits.target)
order = torch.randperm(len(y))
train, test = order[:1400], order[1400:]
model = MobileNet()
optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
for epoch in range(12):
    model.train()
    running = 0.0
    for rows in train[torch.randperm(1400)].split(56):
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item() / 25
    print(f"epoch {epoch + 1:2d} loss {running:.4f} train {accuracy(model, x[train], y[train]):.3f} test {accuracy(model, x[test], y[test]):.3f}")
