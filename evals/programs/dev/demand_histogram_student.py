"""A fast student learns to imitate a slow demand simulator that answers with a histogram over 40 bins."""

import torch
import torch.nn.functional as F
from torch import nn

BINS = torch.linspace(0, 1, 40)


def simulator(x):
    """Log-histogram of tomorrow's demand: a quiet day or a busy day, how busy depends on the inputs."""
    quiet = 0.2 + 0.1 * torch.sigmoid(x[:, :1])
    busy = 0.7 + 0.2 * torch.sigmoid(x[:, 1:2])
    bumps = torch.exp(-(((BINS - quiet) / 0.05) ** 2)) + torch.exp(-(((BINS - busy) / 0.05) ** 2))
    return torch.log(bumps / bumps.sum(1, keepdim=True) + 1e-6)


class Student(nn.Module):
    """One bell curve per input."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 32)
        self.center = nn.Linear(32, 1)
        self.log_width = nn.Linear(32, 1)

    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        center, width = self.center(h), self.log_width(h).exp() * 0.3
        return F.log_softmax(-0.5 * ((BINS - center) / width) ** 2, dim=1)


def expected(log_histogram):
    return (log_histogram.exp() * BINS).sum(1)


def main():
    torch.manual_seed(0)  #% seed
    student = Student()
    optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
    x_test = torch.randn(300, 3)
    for step in range(1, 401):
        x = torch.randn(64, 3)
        target = simulator(x)
        output = student(x)
        #% if fault
        loss = F.kl_div(target, output, log_target=True, reduction="batchmean")  #% here
        #% else
        loss = F.kl_div(output, target, log_target=True, reduction="batchmean")
        #% endif
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            with torch.no_grad():
                gap = (expected(student(x_test)) - expected(simulator(x_test))).abs().mean().item()
            print(f"step {step} divergence {loss.item():.4f} gap of expected demand {gap:.4f}")


main()
