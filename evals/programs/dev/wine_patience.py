"""Wine classifier that stops when the monitored value no longer improves and keeps the best weights."""

import copy

import torch
from sklearn.datasets import load_wine
from torch import nn


class Patience:
    def __init__(self, mode="max", patience=3):
        self.better = {"max": lambda new, old: new > old, "min": lambda new, old: new < old}[mode]
        self.patience, self.bad, self.best, self.state = patience, 0, None, None

    def update(self, value, model):
        """Remember the model if it is the best so far; True when it is time to stop."""
        if self.best is None or self.better(value, self.best):
            self.best, self.state, self.bad = value, copy.deepcopy(model.state_dict()), 0
        else:
            self.bad += 1
        return self.bad >= self.patience


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_wine(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    y = torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    train, valid, test = order[:100], order[100:140], order[140:]
    model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.8)
    #% if fault
    stopper = Patience(patience=12)  #% here
    #% else
    stopper = Patience(mode="min", patience=12)
    #% endif
    for epoch in range(40):
        for rows in train[torch.randperm(len(train))].split(20):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            valid_loss = nn.functional.cross_entropy(model(x[valid]), y[valid]).item()
        print(f"epoch {epoch} loss {loss.item():.4f} valid loss {valid_loss:.4f}")
        if stopper.update(valid_loss, model):  #% here
            print(f"stopped after epoch {epoch}")
            break
    model.load_state_dict(stopper.state)
    with torch.no_grad():
        test_loss = nn.functional.cross_entropy(model(x[test]), y[test]).item()
    print(f"test loss {test_loss:.4f}")


main()
