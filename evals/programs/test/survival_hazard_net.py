"""Mean residual hazard from covariates: a net gives a rate, the observed dose saturates with exposure time."""
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(40)  #% seed
torch.manual_seed(2)  #% seed

n = 1500
cov = rng.normal(size=(n, 6)).astype(np.float32)
true_rate = np.exp(0.6 * cov[:, 0] - 0.4 * cov[:, 1] * cov[:, 2])
exposure = rng.gamma(2.0, 0.7, size=n).astype(np.float32)
exposure[rng.choice(n, 3, replace=False)] = 0.0  # never exposed
rt = true_rate * exposure
effect = np.where(rt > 0, -np.expm1(-rt) / np.maximum(rt, 1e-9), 1.0) + rng.normal(0, 0.03, n)

cov, exposure = torch.from_numpy(cov), torch.from_numpy(exposure)
effect = torch.from_numpy(effect.astype(np.float32))


class HazardNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
        self.log_rate = nn.Linear(32, 1)

    def forward(self, cov, exposure):
        rate = self.log_rate(self.body(cov)).squeeze(-1).exp()
        x = rate * exposure
        #% if fault
        mean = -torch.expm1(-x) / x  #% here
        return torch.where(x > 0, mean, torch.ones_like(x))  #% here
        #% else
        safe = torch.where(x > 0, x, torch.ones_like(x))
        mean = -torch.expm1(-safe) / safe
        return torch.where(x > 0, mean, torch.ones_like(x))
        #% endif


net = HazardNet()
opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
batches = torch.arange(n).split(30)
step = 0
for epoch in range(6):
    order = torch.randperm(len(batches))
    for b in order:
        idx = batches[b]
        loss = nn.functional.mse_loss(net(cov[idx], exposure[idx]), effect[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        step += 1
        if step % 25 == 0:
            print(f"step {step:4d} mse {loss.item():.5f}")

with torch.no_grad():
    print(f"overall mse {nn.functional.mse_loss(net(cov, exposure), effect).item():.5f}")
