"""Few labels, many images: a mean teacher provides targets for the unlabelled ones and is what gets deployed."""

import copy

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Averaged:
    """Exponential moving average of a model's weights."""

    def __init__(self, model, decay):
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    def update(self, model):
        with torch.no_grad():
            for ours, theirs in zip(self.module.parameters(), model.parameters()):
                #% if fault
                ours = self.decay * ours + (1 - self.decay) * theirs  #% here
                #% else
                ours.mul_(self.decay).add_(theirs, alpha=1 - self.decay)
                #% endif


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x))
    labelled, unlabelled, test = order[:300], order[300:1400], order[1400:]
    student = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
    teacher = Averaged(student, decay=0.95)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    for step in range(1, 241):
        rows = labelled[torch.randint(300, (48,))]
        extra = unlabelled[torch.randint(1100, (96,))]
        supervised = F.cross_entropy(student(x[rows]), y[rows])
        noisy = x[extra] + 0.1 * torch.randn(96, 64)
        consistency = F.mse_loss(student(noisy).softmax(1), teacher.module(x[extra]).softmax(1))
        loss = supervised + 0.5 * consistency
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(student)
        if step % 30 == 0:
            with torch.no_grad():
                own = (student(x[test]).argmax(1) == y[test]).float().mean().item()
                deployed = (teacher.module(x[test]).argmax(1) == y[test]).float().mean().item()
            print(f"step {step} loss {loss.item():.4f} student {own:.3f} teacher {deployed:.3f}")


main()
