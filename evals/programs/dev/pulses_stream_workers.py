"""Locate a pulse in a noisy trace; examples are simulated on the fly by two loader workers."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

POINTS = 40


def simulate(rng):
    place = rng.uniform(0.15, 0.85)
    axis = np.linspace(0, 1, POINTS)
    trace = rng.uniform(0.7, 1.5) * np.exp(-(((axis - place) / 0.06) ** 2)) + 0.35 * rng.normal(size=POINTS)
    return trace.astype("float32"), np.float32(place)


class Simulator(IterableDataset):
    def __init__(self, per_worker, seed):
        self.per_worker = per_worker
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def __iter__(self):
        #% if fault
        rng = self.rng  #% here
        #% else
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, info.seed])
        #% endif
        for _ in range(self.per_worker):
            yield simulate(rng)


def main(seed):
    torch.manual_seed(seed)
    loader = DataLoader(Simulator(48, seed), batch_size=8, num_workers=2, multiprocessing_context="fork")
    check = [simulate(np.random.default_rng(10_000 + k)) for k in range(300)]
    x_check = torch.tensor(np.stack([t for t, _ in check]))
    y_check = torch.tensor([p for _, p in check])
    net = nn.Sequential(nn.Linear(POINTS, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(1, 13):
        total, n = 0.0, 0
        for trace, place in loader:
            loss = nn.functional.mse_loss(net(trace).squeeze(1), place)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, n = total + loss.item(), n + 1
        if epoch % 3 == 0:
            with torch.no_grad():
                error = nn.functional.mse_loss(net(x_check).squeeze(1), y_check).sqrt().item()
            print(f"epoch {epoch} train rmse {(total / n) ** 0.5:.4f} check rmse {error:.4f}")


main(seed=0)  #% seed
