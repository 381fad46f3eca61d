"""Digits with early stopping on the validation loss of a small validation set."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class EarlyStopping:
    #% if fault
    def __init__(self, patience=1, min_delta=0.3):  #% here
    #% else
    def __init__(self, patience=5, min_delta=0.0):
    #% endif
        self.patience, self.min_delta = patience, min_delta
        self.best, self.waited = float("inf"), 0

    def __call__(self, loss):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.waited >= self.patience


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    train, valid, test = order[:1200], order[1200:1300], order[1300:]
    loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=40, shuffle=True)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5)
    stop = EarlyStopping()
    for epoch in range(25):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            valid_loss = nn.functional.cross_entropy(net(x[valid]), y[valid]).item()
            accuracy = (net(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} valid {valid_loss:.4f} test accuracy {accuracy:.3f}")
        if stop(valid_loss):
            print("stopped")
            break


main()
