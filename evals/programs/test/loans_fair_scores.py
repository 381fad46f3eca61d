"""Credit scores that should not depend on the applicant's district: squared error plus a dependence penalty."""
import numpy as np
import torch
from torch import nn


def applicants(n):
    district = (torch.rand(n) < 0.5).float()
    x = torch.randn(n, 8)
    x[:, 0] += 1.5 * district
    x[:, 1] -= 1.0 * district
    score = x[:, 0] - 0.5 * x[:, 1] + 0.7 * torch.sin(2 * x[:, 2]) + 0.3 * x[:, 3] + 0.2 * torch.randn(n)
    return x, (score - score.mean()) / score.std(), district


class Dependence:
    """Squared correlation between two batches of numbers."""

    def __call__(self, a, b):
        #% if fault
        r = np.corrcoef(a.detach().numpy(), b.numpy())[0, 1]  #% here
        return torch.tensor(r**2, dtype=a.dtype)  #% here
        #% else
        a, b = a - a.mean(), b - b.mean()
        return (a @ b) ** 2 / (a.square().sum() * b.square().sum() + 1e-8)
        #% endif


def main(seed, weight=3.0):
    torch.manual_seed(seed)
    x, score, district = applicants(2500)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    dependence = Dependence()
    for step in range(1, 251):
        i = torch.randint(2000, (100,))
        pred = net(x[i])
        fit, dep = nn.functional.mse_loss(pred, score[i]), dependence(pred, district[i])
        loss = fit + weight * dep
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 25 == 0:
            print(f"step {step} loss {loss.item():.4f} fit {fit.item():.4f} dependence {dep.item():.4f}")
    with torch.no_grad():
        print(f"dependence on the district {dependence(net(x[2000:]), district[2000:]).item():.4f}")


main(80)  #% seed
