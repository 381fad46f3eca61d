"""Digits with augmentation on the fly."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class AugmentedDigits(Dataset):
    def __init__(self, images, labels, rng, augment):
        self.images, self.labels, self.rng, self.augment = images, labels, rng, augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = self.images[i]
        if self.augment:
            #% if fault
            image = self.rng.permutation(image.reshape(4, 16)).reshape(8, 8)  #% here
            #% else
            image = np.roll(image, self.rng.integers(-1, 2), axis=1)
            #% endif
            image = np.clip(image + self.rng.normal(0, 0.05, (8, 8)), 0, 1)
        return torch.tensor(image, dtype=torch.float32), int(self.labels[i])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))

    def forward(self, x):
        return self.layers(x)


def main():
    seed = 0  #% seed
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images, labels = digits.images[order] / 16, digits.target[order]
    train = DataLoader(AugmentedDigits(images[:1400], labels[:1400], rng, augment=True), batch_size=64, shuffle=True)
    test_x, test_y = torch.tensor(images[1400:], dtype=torch.float32), torch.tensor(labels[1400:])
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(12):
        hits, total = 0, 0.0
        for x, y in train:
            logits = net(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits += (logits.argmax(1) == y).sum().item()
            total += loss.item()
        with torch.no_grad():
            accuracy = (net(test_x).argmax(1) == test_y).float().mean().item()
        print(f"epoch {epoch} loss {total / len(train):.4f} train {hits / 1400:.3f} test {accuracy:.3f}")


main()
