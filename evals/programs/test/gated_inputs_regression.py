"""Feature selection: a learned gate picks which of 30 inputs a regressor may use."""
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.openness = nn.Parameter(0.3 + 0.1 * torch.randn(n))

    def forward(self, x):
        soft = torch.sigmoid(4 * self.openness)
        hard = (soft > 0.5).float()
        #% if fault
        return x * hard  #% here
        #% else
        return x * (hard + soft - soft.detach())
        #% endif


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = Gate(30)
        self.net = nn.Sequential(nn.Linear(30, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net(self.gate(x)).squeeze(1)


torch.manual_seed(84)  #% seed
x = torch.randn(1500, 30)
y = (x[:, :10] * torch.linspace(1, 2, 10)).sum(1) / 3
x_test = torch.randn(500, 30)
y_test = (x_test[:, :10] * torch.linspace(1, 2, 10)).sum(1) / 3
model = Gated()
opt = torch.optim.Adam(model.parameters(), lr=3e-2)
for step in range(450):
    i = torch.randint(1500, (64,))
    loss = nn.functional.mse_loss(model(x[i]), y[i]) + 1e-3 * torch.sigmoid(4 * model.gate.openness).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 90 == 89:
        print(f"step {step + 1} loss {loss.item():.4f} open gates {int((model.gate.openness > 0).sum())}")
with torch.no_grad():
    print(f"test mse {nn.functional.mse_loss(model(x_test), y_test).item():.4f}")
