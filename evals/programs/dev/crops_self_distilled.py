"""Self-supervised views of digits without negatives: online network with predictor, slowly moving target."""

import copy

import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F


def head(inputs, hidden, outputs):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def view(x):
    """A shifted, noisy copy."""
    shift = torch.randint(-1, 2, (2,)).tolist()
    return (x.roll(shift, (1, 2)) + 0.1 * torch.randn_like(x)).flatten(1)


class Learner(nn.Module):
    def __init__(self, decay=0.98):
        super().__init__()
        self.online = head(64, 96, 48)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = head(48, 48, 48)
        self.decay = decay

    def forward(self, a, b):
        with torch.no_grad():
            wanted = F.normalize(self.target(b), dim=1)
        return 2 - 2 * (F.normalize(self.predictor(self.online(a)), dim=1) * wanted).sum(1).mean()

    @torch.no_grad()
    def follow(self):
        for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.decay)


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16, dtype=torch.float32), digits.target
    learner = Learner()
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=2e-3)
    for epoch in range(8):
        total = 0.0
        for rows in torch.randperm(1400).split(70):
            loss = (learner(view(images[rows]), view(images[rows])) + learner(view(images[rows]), view(images[rows]))) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            learner.follow()
            total += loss.item() / 20
        learner.eval()
        with torch.no_grad():
            code = learner.online(images.flatten(1)).numpy()
        learner.train()
        score = KNeighborsClassifier(5).fit(code[:1400], labels[:1400]).score(code[1400:], labels[1400:])
        print(f"epoch {epoch} loss {total:.4f} neighbours agree {score:.3f}")


main()
