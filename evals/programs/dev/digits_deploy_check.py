"""Digits: preprocessing for training lives in the data set, for validation in a helper."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN, STD = 4.9, 6.0


class Digits(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = torch.tensor(self.images[i], dtype=torch.float32)
        return (x - MEAN) / STD, int(self.labels[i])


def validation_batch(images, labels):
    x = torch.tensor(images, dtype=torch.float32)
    #% if fault
    return x / 255.0, torch.tensor(labels)  #% here
    #% else
    return (x - MEAN) / STD, torch.tensor(labels)
    #% endif


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU())
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(self.conv(x.unsqueeze(1)).flatten(1))


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    order = torch.randperm(len(digits.target)).numpy()
    images, labels = digits.images[order], digits.target[order]
    loader = DataLoader(Digits(images[:1400], labels[:1400]), batch_size=64, shuffle=True)
    x_valid, y_valid = validation_batch(images[1400:], labels[1400:])
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(6):
        net.train()
        hits, total = 0, 0.0
        for x, y in loader:
            logits = net(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits += (logits.argmax(1) == y).sum().item()
            total += loss.item()
        net.eval()
        with torch.no_grad():
            valid = (net(x_valid).argmax(1) == y_valid).float().mean().item()
        print(f"epoch {epoch} loss {total / len(loader):.4f} train {hits / 1400:.3f} valid {valid:.3f}")


main()
