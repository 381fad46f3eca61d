"""Iris species from noisy measurements with a small residual net and decoupled weight decay."""
import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import nn


class Res(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(w, w), nn.GELU(), nn.Linear(w, w))

    def forward(self, h):
        return h + self.f(h)


def get(seed):
    data = load_iris()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    rng = np.random.RandomState(seed)
    x = np.concatenate([x + 0.15 * rng.randn(*x.shape) for _ in range(6)])
    y = np.tile(data.target, 6)
    p = rng.permutation(len(y))
    return torch.FloatTensor(x[p]), torch.LongTensor(y[p])


hyper = {
    "lr": 2e-3,
    #% if fault
    "weight_decay": 50.0,  #% here
    #% else
    "weight_decay": 1e-2,
    #% endif
    "epochs": 20,
    "seed": 11,  #% seed
}
torch.manual_seed(hyper["seed"])
x, y = get(hyper["seed"])
model = nn.Sequential(nn.Linear(4, 24), Res(24), Res(24), nn.Linear(24, 3))
opt = torch.optim.AdamW(model.parameters(), lr=hyper["lr"], weight_decay=hyper["weight_decay"])
for epoch in range(hyper["epochs"]):
    for i in range(0, 720, 48):
        loss = nn.functional.cross_entropy(model(x[i : i + 48]), y[i : i + 48])
        opt.zero_grad()
        loss.backward()
        opt.step()
    if epoch % 4 == 3:
        with torch.no_grad():
            out = model(x[720:])
            nll = nn.functional.cross_entropy(out, y[720:]).item()
        print(f"epoch {epoch + 1} loss {loss.item():.4f} test nll {nll:.4f} acc {(out.argmax(1) == y[720:]).float().mean():.3f}")
