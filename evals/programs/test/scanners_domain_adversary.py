"""Adversarial domain adaptation: features should classify digits and hide the scanner they came from."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


def scanners(seed):
    torch.manual_seed(seed)
    d = load_digits()
    x, y = torch.tensor(d.data / 16, dtype=torch.float32), torch.tensor(d.target)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    second = torch.rand(len(y)) < 0.5
    x[second] = 1 - 0.8 * x[second] + 0.2 * torch.rand(int(second.sum()), 64)
    return x, y, second.float()


class Pair:
    def __init__(self):
        self.features = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.digit = nn.Linear(32, 10)
        self.spy = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
        self.opt_task = torch.optim.Adam([*self.features.parameters(), *self.digit.parameters()], lr=3e-3)
        self.opt_spy = torch.optim.Adam(self.spy.parameters(), lr=3e-3)
        self.ce, self.bce = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()

    def train_spy(self, x, dom):
        loss = self.bce(self.spy(self.features(x).detach()).squeeze(1), dom)
        self.opt_spy.zero_grad()
        loss.backward()
        self.opt_spy.step()
        return loss.item()

    def train_task(self, x, y, dom, weight=0.05):
        f = self.features(x)
        fooled = self.bce(self.spy(f).squeeze(1), 1 - dom)
        loss = self.ce(self.digit(f), y) + weight * fooled
        self.opt_task.zero_grad()
        loss.backward()
        #% if fault
        self.opt_spy.step()  #% here
        #% else
        self.opt_task.step()
        #% endif
        return loss.item()


if __name__ == "__main__":
    x, y, dom = scanners(32)  #% seed
    pair = Pair()
    for epoch in range(8):
        for idx in torch.randperm(1400).split(50):
            s = pair.train_spy(x[idx], dom[idx])
            t = pair.train_task(x[idx], y[idx], dom[idx])
        with torch.no_grad():
            acc = (pair.digit(pair.features(x[1400:])).argmax(1) == y[1400:]).float().mean().item()
        print(f"epoch {epoch} task loss {t:.3f} spy loss {s:.3f} digit accuracy {acc:.3f}")
