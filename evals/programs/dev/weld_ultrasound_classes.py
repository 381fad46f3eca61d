"""Classify welds as sound, porous or cracked from eight ultrasound features."""

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

NAMES = ["sound", "porous", "cracked"]
SHARES = [0.86, 0.09, 0.05]


def welds(n, rng):
    kind = rng.choice(3, size=n, p=SHARES)
    centers = np.array([[0.0] * 8, [1.1] * 3 + [0.0] * 5, [0.0] * 4 + [1.2] * 3 + [0.5]])
    return (centers[kind] + rng.normal(size=(n, 8))).astype("float32"), kind


def class_weights(kind):
    counts = np.bincount(kind, minlength=3)
    #% if fault
    weights = counts / counts.sum()  #% here
    #% else
    weights = counts.sum() / (3 * counts)
    #% endif
    return torch.tensor(weights, dtype=torch.float32)


class Trainer:
    def __init__(self, seed):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        x, y = welds(1600, rng)
        self.x_test, self.y_test = welds(1200, rng)
        self.loader = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=64, shuffle=True)
        self.model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
        self.criterion = nn.CrossEntropyLoss(weight=class_weights(y))
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def epoch(self):
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def test(self):
        with torch.no_grad():
            said = self.model(torch.tensor(self.x_test)).argmax(1).numpy()
        return recall_score(self.y_test, said, average=None)


trainer = Trainer(seed=0)  #% seed
for number in range(8):
    last = trainer.epoch()
    recall = trainer.test()
    found = ", ".join(f"{name} {value:.2f}" for name, value in zip(NAMES, recall, strict=True))
    print(f"epoch {number} loss {last:.4f} recall {found} mean {recall.mean():.3f}")
