"""Will it rain tomorrow? Six readings of a weather station in their own units."""
import torch
from torch import nn

torch.manual_seed(26)  #% seed


def station(days):
    pressure = 101325 + 900 * torch.randn(days)  # Pa
    humidity = torch.rand(days)  # share
    temperature = 285 + 8 * torch.randn(days)  # K
    wind = 4 * torch.rand(days)  # m/s
    cloud = torch.rand(days)
    altitude = torch.full((days,), 412.0) + torch.randn(days)
    score = -(pressure - 101325) / 900 + 3 * (humidity - 0.5) + 2 * (cloud - 0.5) - 0.5 * (temperature - 285) / 8
    rain = (score + 0.3 * torch.randn(days) > 0).float()
    return torch.stack([pressure, humidity, temperature, wind, cloud, altitude], dim=1), rain


class RainNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 24), nn.Linear(24, 24), nn.Linear(24, 1)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x).squeeze(-1)


x, rain = station(2400)
#% if fault
inputs = x  #% here
#% else
inputs = (x - x[:1800].mean(0)) / x[:1800].std(0)
#% endif
net = RainNet()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
bce = nn.BCEWithLogitsLoss()
for epoch in range(10):
    for idx in torch.randperm(1800).chunk(30):
        opt.zero_grad()
        loss = bce(net(inputs[idx]), rain[idx])
        loss.backward()
        opt.step()
    with torch.no_grad():
        hit = ((net(inputs[1800:]) > 0) == (rain[1800:] > 0.5)).float().mean().item()
    print(f"epoch {epoch:2d} loss {loss.item():.4f} hit rate {hit:.3f}")
