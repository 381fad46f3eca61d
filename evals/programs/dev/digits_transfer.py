"""Reuse an odd/even classifier of handwritten digits as features for telling all ten digits apart."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)  #% seed
np.random.seed(0)  #% seed

x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=7)
x_train, x_test = torch.from_numpy(x_train), torch.from_numpy(x_test)
y_train, y_test = torch.from_numpy(y_train), torch.from_numpy(y_test)


class DigitNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU())
        self.fc = nn.Linear(96, n_classes)

    def forward(self, x):
        return self.fc(self.features(x))


def fit(model, optimizer, inputs, targets, epochs):
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=64, shuffle=True)
    for epoch in range(epochs):
        model.train()
        running = 0.0
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(xb), yb)
            loss.backward()
            optimizer.step()
            running += loss.item() * len(xb)
        print(f"epoch {epoch + 1}: loss {running / len(inputs):.4f}")


print("stage 1: odd or even")
model = DigitNet(n_classes=2)
pretrain_optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
fit(model, pretrain_optimizer, x_train, y_train % 2, epochs=8)

print("stage 2: ten digits on top of the learned features")
for p in model.features.parameters():
    p.requires_grad = False

#% if fault
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)  #% here
model.fc = nn.Linear(96, 10)  #% here
#% else
model.fc = nn.Linear(96, 10)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
#% endif
fit(model, optimizer, x_train, y_train, epochs=20)

model.eval()
with torch.no_grad():
    accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
print(f"test accuracy {accuracy:.3f}")
