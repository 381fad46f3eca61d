"""Predict the yield (a fraction) of a synthetic process from six settings."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Process(Dataset):
    def __init__(self, n, rng):
        self.settings = rng.normal(size=(n, 6)).astype(np.float32)
        a, b, c = self.settings[:, 0], self.settings[:, 1] * self.settings[:, 2], self.settings[:, 3:].sum(1)
        self.fraction = 1 / (1 + np.exp(-(1.5 * a - b + 0.5 * c)))
        #% if fault
        self.table = np.zeros((n, 1), dtype=int)  #% here
        #% else
        self.table = np.zeros((n, 1), dtype=np.float32)
        #% endif
        self.table[:, 0] = self.fraction  #% here

    def __len__(self):
        return len(self.fraction)

    def __getitem__(self, i):
        return torch.from_numpy(self.settings[i]), torch.from_numpy(self.table[i])


def r2(model, data):
    with torch.no_grad():
        predicted = model(torch.from_numpy(data.settings)).squeeze(1).numpy()
    return 1 - np.square(predicted - data.fraction).sum() / np.square(data.fraction - data.fraction.mean()).sum()


def main():
    rng = np.random.default_rng(0)  #% seed
    torch.manual_seed(0)  #% seed
    train, test = Process(1200, rng), Process(300, rng)
    loader = DataLoader(train, batch_size=40, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(10):
        losses = []
        for settings, target in loader:
            loss = criterion(model(settings), target.to(torch.float32))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} mse {np.mean(losses):.5f} test r2 {r2(model, test):.3f}")


main()
