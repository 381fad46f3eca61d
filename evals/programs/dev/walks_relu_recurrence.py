"""Sum up the steps of a random walk with a recurrent network of rectified units."""

import torch
from torch import nn

LENGTH = 40


class RectifiedRNN(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.inward = nn.Linear(2, hidden)
        self.recur = nn.Linear(hidden, hidden, bias=False)
        self.outward = nn.Linear(hidden, 1)
        nn.init.eye_(self.recur.weight)

    def forward(self, steps):
        h = torch.zeros(len(steps), self.recur.in_features)
        for t in range(steps.shape[1]):
            h = torch.relu(self.inward(steps[:, t]) + self.recur(h))
        return self.outward(h).squeeze(1)


def walks(n):
    steps = torch.rand(n, LENGTH, 1)
    counted = (torch.rand(n, LENGTH, 1) < 0.3).float()
    return torch.cat([steps, counted], 2), (steps * counted).sum((1, 2)) / LENGTH**0.5


class Fit:
    def __init__(self, seed, lr):
        torch.manual_seed(seed)
        self.model = RectifiedRNN()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr)

    def step(self):
        steps, target = walks(32)
        loss = nn.functional.mse_loss(self.model(steps), target)
        self.optimizer.zero_grad()
        loss.backward()
        #% if fault
        #% else
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        #% endif
        self.optimizer.step()  #% here
        return loss.item()


fit = Fit(seed=0, lr=0.02)  #% seed
recent = None
for n in range(1, 201):
    value = fit.step()
    recent = value if recent is None else 0.9 * recent + 0.1 * value
    if n % 20 == 0:
        print(f"step {n} loss {value:.4f} recent {recent:.4f}")
