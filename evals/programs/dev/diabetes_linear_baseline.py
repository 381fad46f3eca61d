"""The linear baseline for disease progression that every larger model has to beat."""

import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch import nn

torch.manual_seed(0)  #% seed
x, y = load_diabetes(return_X_y=True)
x = torch.tensor(x / x.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
order = torch.randperm(len(y))
train, test = order[:342], order[342:]
reference = LinearRegression().fit(x[train], y[train]).predict(x[test])
print(f"least squares r2 {r2_score(y[test], reference):.3f}")

baseline = nn.Linear(10, 1)
optimizer = torch.optim.SGD(baseline.parameters(), lr=0.02)
for epoch in range(30):
    total = 0.0
    for rows in train[torch.randperm(342)].split(19):
        loss = nn.functional.mse_loss(baseline(x[rows]).squeeze(1), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / 18
    if epoch % 3 == 2:
        with torch.no_grad():
            r2 = r2_score(y[test], baseline(x[test]).squeeze(1))
        print(f"epoch {epoch + 1} loss {total:.4f} r2 {r2:.3f} below least squares by {r2_score(y[test], reference) - r2:.4f}")
