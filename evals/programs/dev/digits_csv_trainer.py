"""Train a digit classifier from two CSV files: one with pixels, one with labels."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def write_files(rng):
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    np.savetxt("pixels.csv", digits.data[order], fmt="%d", delimiter=",")
    #% if fault:b
    np.savetxt("labels.csv", digits.target, fmt="%d")  #% here:b
    #% else
    np.savetxt("labels.csv", digits.target[order], fmt="%d")
    #% endif


def read_files():
    pixels = np.loadtxt("pixels.csv", delimiter=",", dtype=np.float32) / 16
    labels = np.loadtxt("labels.csv", dtype=np.int64)
    return torch.from_numpy(pixels), torch.from_numpy(labels)


class CsvTrainer:
    def __init__(self, epochs, batch_size):
        self.epochs, self.batch_size = epochs, batch_size
        pixels, labels = read_files()
        self.train = pixels[:1400], labels[:1400]
        self.valid = pixels[1400:], labels[1400:]
        self.net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.2)

    def step(self, x, y):
        loss = nn.functional.cross_entropy(self.net(x), y)
        #% if fault:a
        #% else
        self.optimizer.zero_grad()
        #% endif
        loss.backward()  #% here:a
        self.optimizer.step()  #% here:a
        return loss.item()

    @torch.no_grad()
    def accuracy(self):
        x, y = self.valid
        return (self.net(x).argmax(1) == y).float().mean().item()

    def run(self):
        x, y = self.train
        for epoch in range(self.epochs):
            losses = [self.step(x[i], y[i]) for i in torch.randperm(len(x)).split(self.batch_size)]
            print(f"epoch {epoch} loss {np.mean(losses):.4f} valid accuracy {self.accuracy():.3f}")


if __name__ == "__main__":
    torch.manual_seed(0)  #% seed
    write_files(np.random.default_rng(0))  #% seed
    CsvTrainer(epochs=10, batch_size=64).run()
