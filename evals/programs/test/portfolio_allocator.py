"""Portfolio weights from market features; the softmax is part of the model and written out."""
import torch
from torch import nn


class Allocator(nn.Module):
    def __init__(self, features=6, assets=5):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, assets))
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        preference = self.sharpness * self.net(x)
        #% if fault
        e = torch.exp(preference)  #% here
        return e / e.sum(1, keepdim=True)  #% here
        #% else
        e = torch.exp(preference - preference.max(1, keepdim=True).values)
        return e / e.sum(1, keepdim=True)
        #% endif


torch.manual_seed(133)  #% seed
truth = torch.randn(6, 5)
allocator = Allocator()
opt = torch.optim.Adam(allocator.parameters(), lr=1e-2)
for day in range(1, 301):
    x = torch.randn(40, 6)
    gain = x @ truth + 0.3 * torch.randn(40, 5)
    loss = -(allocator(x) * gain).sum(1).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if day % 30 == 0:
        print(f"day {day} mean gain {-loss.item():.4f}")
