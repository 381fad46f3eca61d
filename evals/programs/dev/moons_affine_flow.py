"""A small normalising flow on two moons: activation normalisation takes its scale from the first batch it sees."""

import torch
from sklearn.datasets import make_moons
from torch import nn


class ActNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x):
        if not self.initialised:
            with torch.no_grad():
                self.shift.copy_(x.mean(0))
                self.log_scale.copy_(-torch.log(x.std(0, correction=0) + 1e-4))
                self.initialised.fill_(True)
        return (x - self.shift) * self.log_scale.exp(), self.log_scale.sum()


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x):
        a, b = x.flip(1).unbind(1) if self.flip else x.unbind(1)
        log_s, t = self.net(a[:, None]).unbind(1)
        log_s = torch.tanh(log_s)
        y = torch.stack([a, b * log_s.exp() + t], 1)
        return (y.flip(1) if self.flip else y), log_s


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([ActNorm(2) for _ in range(4)])
        self.couplings = nn.ModuleList([Coupling(k % 2 == 0) for k in range(4)])

    def log_prob(self, x):
        total = 0.0
        for norm, coupling in zip(self.norms, self.couplings, strict=True):
            x, a = norm(x)
            x, b = coupling(x)
            total = total + a + b
        return torch.distributions.Normal(0, 1).log_prob(x).sum(1) + total

    def summary(self):
        size = sum(p.numel() for p in self.parameters())
        return f"flow with {len(self.norms)} blocks, {size} parameters, output {tuple(self.log_prob(torch.zeros(4, 2)).shape)}"


def main():
    torch.manual_seed(0)  #% seed
    points = torch.tensor(make_moons(1500, noise=0.08, random_state=0)[0], dtype=torch.float32) * 10
    flow = Flow()
    #% if fault
    print(flow.summary())  #% here
    #% endif
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for step in range(300):
        loss = -flow.log_prob(points[torch.randint(1200, (64,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        if step % 30 == 29:
            with torch.no_grad():
                held_out = -flow.log_prob(points[1200:]).mean().item()
            print(f"step {step + 1} loss {loss.item():.3f} held-out nll {held_out:.3f}")
    #% if fault
    #% else
    print(flow.summary())
    #% endif


main()
