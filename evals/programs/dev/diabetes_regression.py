import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)  #% seed

data = load_diabetes()
X = torch.tensor(data.data, dtype=torch.float32)
X = X / X.std(0)
y = torch.tensor(data.target, dtype=torch.float32)
y = (y - y.mean()) / y.std()

perm = torch.randperm(len(X), generator=torch.Generator().manual_seed(11))
train_idx, test_idx = perm[:342], perm[342:]
loader = DataLoader(TensorDataset(X[train_idx], y[train_idx]), batch_size=32, shuffle=True)


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(10, 32)
        self.act = nn.ReLU()
        self.output = nn.Linear(32, 1)

    def forward(self, x):
        return self.output(self.act(self.hidden(x)))


model = Regressor()
loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

for epoch in range(1, 31):
    total = 0
    for xb, yb in loader:
        pred = model(xb)
        #% if fault
        loss = loss_fn(pred, yb)  #% here
        #% else
        loss = loss_fn(pred, yb.unsqueeze(1))
        #% endif
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    if epoch % 5 == 0:
        with torch.no_grad():
            score = r2_score(y[test_idx], model(X[test_idx]).squeeze(1))
        print(f"Epoch {epoch:2d} | MSE {total / len(loader):.3f} | test R2 {score:.3f}")
