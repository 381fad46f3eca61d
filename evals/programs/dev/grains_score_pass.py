"""Classify grains by five measurements; the score is computed after each epoch over the whole training set."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Grains(Dataset):
    def __init__(self, n, rng):
        self.kind = rng.integers(0, 4, n)
        centers = np.random.default_rng(7).normal(scale=1.6, size=(4, 5))
        self.measures = (centers[self.kind] + rng.normal(size=(n, 5))).astype("float32")

    def __len__(self):
        return len(self.kind)

    def __getitem__(self, i):
        return self.measures[i], self.kind[i]


def score(model, loader):
    model.eval()
    predicted, actual = [], []
    with torch.no_grad():
        #% if fault
        for measures, _ in loader:
            predicted.extend(model(measures).argmax(1).tolist())
        actual = loader.dataset.kind  #% here
        #% else
        for measures, kind in loader:
            predicted.extend(model(measures).argmax(1).tolist())
            actual.extend(kind.tolist())
        #% endif
    model.train()
    return float(np.mean(np.array(predicted) == np.array(actual)))


def main():
    torch.manual_seed(0)  #% seed
    rng = np.random.default_rng(0)  #% seed
    loader = DataLoader(Grains(800, rng), batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    for epoch in range(8):
        total = 0.0
        for measures, kind in loader:
            loss = criterion(model(measures), kind)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / len(loader):.4f} score {score(model, loader):.3f}")


if __name__ == "__main__":
    main()
