"""Digits keyed in at two counters: counter 0 has a phone's keypad, counter 1 a calculator's."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

SAME_PLACE = np.array([0, 7, 8, 9, 4, 5, 6, 1, 2, 3])  # the two keypads are upside down to each other


def recorded(rng):
    """Pixels, the place of the key that was pressed (named as on a phone), and the counter."""
    digits = load_digits()
    counter = rng.integers(0, 2, len(digits.target))
    place = np.where(counter == 1, SAME_PLACE[digits.target], digits.target)
    return digits.data / 16, place, counter, digits.target


class Scans(Dataset):
    def __init__(self, pixels, place, counter):
        self.pixels = torch.tensor(pixels, dtype=torch.float32)
        #% if fault
        self.digit = torch.tensor(place)  #% here
        #% else
        self.digit = torch.tensor(np.where(counter == 1, SAME_PLACE[place], place))
        #% endif

    def __len__(self):
        return len(self.digit)

    def __getitem__(self, i):
        return self.pixels[i], self.digit[i]


def main():
    torch.manual_seed(0)  #% seed
    rng = np.random.default_rng(0)  #% seed
    pixels, place, counter, digit = recorded(rng)
    order = rng.permutation(len(pixels))
    train, test = order[:1400], order[1400:]
    loader = DataLoader(Scans(pixels[train], place[train], counter[train]), batch_size=50, shuffle=True)
    x_test, y_test = torch.tensor(pixels[test], dtype=torch.float32), torch.tensor(digit[test])
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(8):
        total, hits = 0.0, 0
        for x, y in loader:
            logits = net(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            hits += (logits.argmax(1) == y).sum().item()
        with torch.no_grad():
            proofread = (net(x_test).argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch} loss {total / len(loader):.4f} train {hits / 1400:.3f} proofread scans {proofread:.3f}")


main()
