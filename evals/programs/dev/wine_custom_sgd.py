"""Wine classifier with weights exported from an older numpy code base and a hand-written optimizer."""

import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim import Optimizer


class ScaledSGD(Optimizer):
    """SGD whose step is relative to the norm of the parameter (a simple LARS)."""

    def __init__(self, params, lr, trust=0.02):
        super().__init__(params, {"lr": lr, "trust": trust})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.reshape(-1)
                ratio = group["trust"] * (p.norm() + 0.1) / (g.norm() + 1e-8)
                #% if fault
                w = p.data.reshape(-1)
                w.sub_(group["lr"] * ratio * g)  #% here
                #% else
                p.sub_((group["lr"] * ratio * g).view(p.shape))
                #% endif


def layer(rng, fan_in, fan_out):
    """The old code base keeps weights as (inputs, outputs)."""
    weight = rng.normal(scale=fan_in**-0.5, size=(fan_in, fan_out)).astype("float32")
    linear = nn.Linear(fan_in, fan_out)
    linear.weight = nn.Parameter(torch.from_numpy(weight).t())
    return linear


def main(seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = load_wine(return_X_y=True)
    order = rng.permutation(len(x))
    x = torch.tensor(StandardScaler().fit_transform(x)[order], dtype=torch.float32)
    y = torch.tensor(y[order])
    model = nn.Sequential(layer(rng, 13, 32), nn.Tanh(), layer(rng, 32, 3))
    optimizer = ScaledSGD(model.parameters(), lr=1.0)
    for epoch in range(15):
        losses = []
        for rows in torch.randperm(130).split(13):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            accuracy = (model(x[130:]).argmax(1) == y[130:]).float().mean().item()
        print(f"epoch {epoch} loss {np.mean(losses):.4f} test accuracy {accuracy:.3f}")


main(0)  #% seed
