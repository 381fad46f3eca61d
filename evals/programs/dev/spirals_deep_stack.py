import math

import torch
import torch.nn as nn


class SpiralNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.stem = nn.Linear(2, width)
        #% if fault
        self.hidden = [nn.Linear(width, width) for _ in range(depth)]  #% here
        #% else
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        #% endif
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return self.head(x)


def three_arms(n):
    arm = torch.randint(3, (n,))
    r = torch.rand(n) * 0.95 + 0.05
    angle = 2 * math.pi * (arm / 3 + 0.8 * r) + 0.1 * torch.randn(n)
    return torch.stack([r * angle.cos(), r * angle.sin()], 1), arm


class Experiment:
    def __init__(self, depth=3, width=20, lr=1e-2, steps=300):
        self.model = SpiralNet(depth, width)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.steps = steps
        print(sum(p.numel() for p in self.model.parameters()), "parameters")

    def run(self):
        x, y = three_arms(1500)
        for step in range(1, self.steps + 1):
            rows = torch.randint(len(x), (64,))
            loss = nn.functional.cross_entropy(self.model(x[rows]), y[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % 30 == 0:
                print(f"step {step} loss {loss.item():.4f}")
        x, y = three_arms(600)
        with torch.no_grad():
            print(f"accuracy {(self.model(x).argmax(1) == y).float().mean().item():.3f}")


torch.manual_seed(0)  #% seed
Experiment().run()
