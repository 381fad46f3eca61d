"""Digits with a log of mean activations, taken once per epoch."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class ActivationLog:
    """Collects the mean output of chosen layers while it watches."""

    def __init__(self):
        self.rows = []

    def watch(self, model):
        self.handles = [
            module.register_forward_hook(lambda m, i, o, name=name: self.rows.append((name, o.mean().item())))
            for name, module in model.named_modules()
            if isinstance(module, nn.ReLU)
        ]

    def close(self):
        for handle in self.handles:
            handle.remove()


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    log = ActivationLog()
    for epoch in range(12):
        before = len(log.rows)
        log.watch(model)  #% here
        total = 0.0
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        #% if fault
        #% else
        log.close()
        #% endif
        print(f"epoch {epoch} loss {total / 29:.4f} rows logged {len(log.rows) - before}")


main()
