"""Distillation by self-prediction (BYOL style) on noisy views of digits, then a linear probe."""
import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn


def view(x):
    keep = (torch.rand_like(x) > 0.25).float()
    return x * keep + 0.15 * torch.randn_like(x)


class Byol(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24))
        self.target = copy.deepcopy(self.online)
        self.predictor = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 24))

    def loss(self, a, b):
        p = self.predictor(self.online(a))
        #% if fault
        z = self.target(b)  #% here
        #% else
        with torch.no_grad():
            z = self.target(b)
        #% endif
        return F.mse_loss(p, z)

    @torch.no_grad()
    def update_target(self, tau=0.99):
        for t, o in zip(self.target.parameters(), self.online.parameters()):
            t.lerp_(o, 1 - tau)


def main(seed=82):  #% seed
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = torch.tensor((x - 4.9) / 6.0, dtype=torch.float32)
    model = Byol()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(1, 301):
        batch = x[torch.randint(1300, (64,))]
        a, b = view(batch), view(batch)
        loss = 0.5 * (model.loss(a, b) + model.loss(b, a))
        opt.zero_grad()
        loss.backward()
        opt.step()
        model.update_target()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.6f}")
    with torch.no_grad():
        z = model.online(x)
    print(f"spread of features {z.std(0).mean().item():.4f}")
    probe = LogisticRegression(max_iter=300).fit(z[:1300].numpy(), y[:1300])
    print(f"linear probe {probe.score(z[1300:].numpy(), y[1300:]):.3f}")


main()
