"""Disease progression with an effective batch of 64, fed in micro-batches of 16."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACCUMULATE = 4
EPOCHS = 40

torch.manual_seed(0)  #% seed
data, target = load_diabetes(return_X_y=True, scaled=False)
data = torch.tensor((data - data.mean(0)) / data.std(0), dtype=torch.float32)
target = torch.tensor((target - target.mean()) / target.std(), dtype=torch.float32)[:, None]
permutation = torch.randperm(len(data), generator=torch.Generator().manual_seed(4))
train, valid = permutation[:352], permutation[352:]
loader = DataLoader(TensorDataset(data[train], target[train]), batch_size=16, shuffle=True)

model = nn.Sequential(nn.Linear(10, 24), nn.SiLU(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

updates = 0
for epoch in range(1, EPOCHS + 1):
    epoch_loss = 0.0
    optimizer.zero_grad()
    for i, (x, y) in enumerate(loader, start=1):
        loss = nn.functional.mse_loss(model(x), y)
        epoch_loss += loss.item()
        (loss / ACCUMULATE).backward()
        if i % ACCUMULATE == 0 or i == len(loader):
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
    if epoch % 5 == 0:
        with torch.no_grad():
            valid_mse = nn.functional.mse_loss(model(data[valid]), target[valid]).item()
        print(f"epoch {epoch} updates {updates} train mse {epoch_loss / len(loader):.4f} valid mse {valid_mse:.4f}")
