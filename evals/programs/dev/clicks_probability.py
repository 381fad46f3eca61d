"""Click probability from twelve features."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)  #% seed
features = torch.randn(3000, 12)
weights = torch.randn(12) / 3
probability = torch.sigmoid(features @ weights + 0.5 * features[:, 0] * features[:, 1] - 0.5)
clicks = torch.bernoulli(probability)
entropy = nn.functional.binary_cross_entropy(probability[2400:], probability[2400:]).item()
print(f"entropy of the outcomes {entropy:.4f}")

loader = DataLoader(TensorDataset(features[:2400], clicks[:2400]), batch_size=80, shuffle=True)
model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
criterion = nn.BCEWithLogitsLoss()
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        train_loss = criterion(model(features[:2400]), clicks[:2400]).item()
        test_loss = criterion(model(features[2400:]), probability[2400:]).item()
    print(f"epoch {epoch} train loss {train_loss:.4f} test excess over entropy {test_loss - entropy:.4f}")
