"""Pulse shapes: the model carries its own normalisation so that it can be shipped as one file."""
import io

import torch
from torch import nn


class PulseNet(nn.Module):
    def __init__(self):
        super().__init__()
        #% if fault
        self.shift = torch.zeros(16)  #% here
        self.scale = torch.ones(16)  #% here
        #% else
        self.register_buffer("shift", torch.zeros(16))
        self.register_buffer("scale", torch.ones(16))
        #% endif
        self.stack = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def calibrate(self, x):
        self.shift, self.scale = x.mean(0), x.std(0)
        return self

    def forward(self, x):
        return self.stack((x - self.shift) / self.scale)


def pulses(n):
    kind = torch.randint(4, (n,))
    t = torch.linspace(0, 1, 16)
    height = 200 + 40 * torch.randn(n, 1)
    wave = torch.exp(-(((t - 0.25 - 0.12 * kind[:, None]) / 0.1) ** 2)) * height
    return wave + 900 + 12 * torch.randn(n, 16), kind


def score(model, x, kind):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == kind).float().mean().item()


torch.manual_seed(101)  #% seed
x, kind = pulses(1200)
x_new, kind_new = pulses(300)
model = PulseNet().calibrate(x)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(150):
    rows = torch.randint(1200, (48,))
    loss = nn.functional.cross_entropy(model(x[rows]), kind[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 29:
        print(f"step {step + 1} loss {loss.item():.4f}")
print(f"lab accuracy {score(model, x_new, kind_new):.3f}")

parcel = io.BytesIO()
torch.save(model.state_dict(), parcel)
parcel.seek(0)
shipped = PulseNet()
shipped.load_state_dict(torch.load(parcel, weights_only=True))
print(f"field accuracy {score(shipped, x_new, kind_new):.3f}")
