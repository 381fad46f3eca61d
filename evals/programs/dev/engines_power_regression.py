"""Power of an engine in kilowatts from its operating point."""

import torch
from torch import nn


def operating_points(n, generator):
    x = torch.rand(n, 4, generator=generator) * 2 - 1
    power = 180 + 70 * x[:, 0] + 35 * x[:, 1] * x[:, 2] - 25 * x[:, 3].square()
    return x, power + 2 * torch.randn(n, generator=generator)


class EngineModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1, self.hidden2 = nn.Linear(4, 32), nn.Linear(32, 32)
        self.power = nn.Linear(32, 1)

    def forward(self, x):
        h = torch.relu(self.hidden2(torch.relu(self.hidden1(x))))
        #% if fault:b
        return torch.relu(self.power(h) - 1).squeeze(1)  #% here:b
        #% else
        return self.power(h).squeeze(1)
        #% endif


class Scale:
    def __init__(self, values):
        #% if fault:a
        self.center, self.spread = 0.0, 1.0  #% here:a
        #% else
        self.center, self.spread = values.mean(), values.std()
        #% endif

    def shrink(self, values):
        return (values - self.center) / self.spread

    def restore(self, values):
        return values * self.spread + self.center


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, power = operating_points(700, generator)
    x_test, power_test = operating_points(300, generator)
    scale, model = Scale(power), EngineModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(12):
        for rows in torch.randperm(700, generator=generator).split(35):
            loss = nn.functional.mse_loss(model(x[rows]), scale.shrink(power[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            rest = (scale.restore(model(x_test)) - power_test).square().mean() / power_test.var()
        print(f"epoch {epoch} loss {loss.item():.4f} unexplained {rest.item():.3f}")


main()
