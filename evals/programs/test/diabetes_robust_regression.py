"""Disease progression from ten measurements, with a Huber-like loss written as a module."""
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SmoothCharbonnier(nn.Module):
    """sqrt(e^2 + d^2) - d: quadratic near zero, linear far away."""

    def __init__(self, delta=0.5):
        super().__init__()
        self.delta = delta

    def forward(self, pred, target):
        err = pred - target
        value = torch.sqrt(err * err + self.delta**2) - self.delta
        #% if fault
        return value.sum()  #% here
        #% else
        return value.mean()
        #% endif


torch.manual_seed(17)  #% seed
X, y = load_diabetes(return_X_y=True)
X = X / X.std(0)
y = (y - y.mean()) / y.std()
Xtr, Xva, ytr, yva = train_test_split(X, y, test_size=0.25, random_state=4)
to_tensor = lambda a: torch.as_tensor(a, dtype=torch.float32)
train_set = TensorDataset(to_tensor(Xtr), to_tensor(ytr))
loader = DataLoader(train_set, batch_size=110, shuffle=True, drop_last=True)

model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))
criterion = SmoothCharbonnier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(30):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    if epoch % 10 == 9:
        model.eval()
        with torch.no_grad():
            pred = model(to_tensor(Xva))
            mae = (pred - to_tensor(yva)).abs().mean().item()
            r2 = 1 - ((pred - to_tensor(yva)) ** 2).sum().item() / ((to_tensor(yva) - to_tensor(yva).mean()) ** 2).sum().item()
        print(f"epoch {epoch + 1:3d} | loss {loss.item():.4f} | val mae {mae:.3f} | val r2 {r2:.3f}")
