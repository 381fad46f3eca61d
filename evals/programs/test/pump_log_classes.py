"""Pump log: predict the failure kind (4 kinds) from vibration features; the log has repeated rows."""
import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

rng = np.random.default_rng(8)  #% seed
torch.manual_seed(8)  #% seed

centres = rng.normal(0, 1.6, size=(4, 12))
kind = rng.integers(0, 4, 1600)
rows = np.round(centres[kind] + rng.normal(size=(1600, 12)), 2)
twice = rng.choice(1600, 200)  # the logger sometimes writes a line twice
rows, kind = np.concatenate([rows, rows[twice]]), np.concatenate([kind, kind[twice]])

#% if fault
clean = np.unique(rows, axis=0)  #% here
kind = kind[: len(clean)]  #% here
#% else
clean, first = np.unique(rows, axis=0, return_index=True)
kind = kind[first]
#% endif
print(f"{len(rows)} rows, {len(clean)} after removing duplicates")

data = TensorDataset(torch.tensor(StandardScaler().fit_transform(clean)).float(), torch.tensor(kind))
train, valid = random_split(data, [len(data) - 400, 400])
net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)

for epoch in range(15):
    net.train()
    for x, k in DataLoader(train, batch_size=50, shuffle=True):
        loss = nn.functional.cross_entropy(net(x), k)
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        accs = []
        for part in (train, valid):
            x, k = data[part.indices]
            accs.append((net(x).argmax(1) == k).float().mean().item())
    print(f"epoch {epoch} loss {loss.item():.3f} train acc {accs[0]:.3f} valid acc {accs[1]:.3f}")
