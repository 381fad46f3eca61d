"""Magnitude of quakes from raw seismogram text files parsed into features."""
import random
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def write_log(rng, magnitude):
    return " ".join(f"{rng.gauss(0, magnitude):.4f}" for _ in range(60))


class Seismograms(Dataset):
    def __init__(self, lines, magnitudes):
        self.rows = []
        for line, m in zip(lines, magnitudes):
            s = torch.tensor([float(v) for v in line.split()])
            self.rows.append((torch.stack([s.std(), s.abs().max(), s.abs().mean(), s.diff().std()]), torch.tensor(m)))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def main():
    rng = random.Random(94)  #% seed
    torch.manual_seed(94)  #% seed
    magnitudes = [rng.uniform(0.2, 3.0) for _ in range(400)]
    lines = [write_log(rng, m) for m in magnitudes]
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    clock = {"data": 0.0, "train": 0.0}
    #% if fault
    #% else
    t = time.perf_counter()
    loader = DataLoader(Seismograms(lines, magnitudes), batch_size=40, shuffle=True)
    clock["data"] += time.perf_counter() - t
    #% endif
    for step in range(70):
        t = time.perf_counter()
        #% if fault
        loader = DataLoader(Seismograms(lines, magnitudes), batch_size=40, shuffle=True)  #% here
        #% endif
        x, m = next(iter(loader))
        clock["data"] += time.perf_counter() - t
        t = time.perf_counter()
        loss = nn.functional.mse_loss(net(x).squeeze(1), m)
        opt.zero_grad()
        loss.backward()
        opt.step()
        clock["train"] += time.perf_counter() - t
        if step % 10 == 9:
            print(f"step {step + 1} loss {loss.item():.4f}")
    print(f"seconds for data {clock['data']:.2f}, ratio data to training {clock['data'] / clock['train']:.2f}")


if __name__ == "__main__":
    main()
