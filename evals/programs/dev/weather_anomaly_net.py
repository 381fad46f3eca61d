"""Predict temperature anomalies (above and below normal) from synthetic station readings."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def stations(n, rng):
    readings = rng.normal(size=(n, 8)).astype(np.float32)
    anomaly = 1.2 * readings[:, 0] - 0.8 * readings[:, 1] + 0.6 * np.tanh(2 * readings[:, 2]) * readings[:, 3]
    return torch.from_numpy(readings), torch.from_numpy((anomaly + 0.1 * rng.normal(size=n)).astype(np.float32))


class AnomalyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(8, 48)
        self.l2 = nn.Linear(48, 48)
        self.l3 = nn.Linear(48, 1)

    def forward(self, x):
        x = torch.relu(self.l1(x))
        x = torch.relu(self.l2(x))
        #% if fault
        x = torch.relu(self.l3(x))  #% here
        #% else
        x = self.l3(x)
        #% endif
        return x.squeeze(-1)


rng = np.random.default_rng(0)  #% seed
torch.manual_seed(0)  #% seed
x, y = stations(1600, rng)
x_test, y_test = stations(400, rng)
model = AnomalyNet()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(10):
    losses = []
    for xb, yb in DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True):
        loss = nn.functional.mse_loss(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        r2 = 1 - (model(x_test) - y_test).square().mean() / y_test.var()
    print(f"epoch {epoch} mse {np.mean(losses):.4f} r2 {r2.item():.3f}")
