"""Learn a decision list with soft gates on tabular data: each gate opens on one side of a plane."""

import torch
from torch import nn


def visits(n):
    x = torch.randn(n, 8)
    y = ((x[:, 0] + 0.5 * x[:, 1] > 0) ^ (x[:, 2] - x[:, 3] > 0.3)).long()
    return x, y


class SoftGates(nn.Module):
    def __init__(self, inputs, gates, steepness):
        super().__init__()
        self.planes = nn.Linear(inputs, gates)
        self.steepness = steepness

    def forward(self, x):
        return torch.sigmoid(self.steepness * self.planes(x))


class DecisionList(nn.Module):
    def __init__(self, steepness):
        super().__init__()
        self.first = SoftGates(8, 16, steepness)
        self.second = SoftGates(16, 16, steepness)
        self.answer = nn.Linear(16, 2)

    def forward(self, x):
        return self.answer(self.second(self.first(x)))


def train(model, steps=400):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x_test, y_test = visits(1000)
    for step in range(steps):
        x, y = visits(64)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 50 == 0:
            with torch.no_grad():
                accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
            print(f"{step + 1} loss {loss.item():.4f} accuracy {accuracy:.3f}")


torch.manual_seed(0)  #% seed
#% if fault
train(DecisionList(steepness=200.0))  #% here
#% else
train(DecisionList(steepness=4.0))
#% endif
