"""Sequence to vector to sequence: a GRU compresses noisy waves, a small net redraws them clean."""
import math

import torch
import torch.nn.functional as F
from torch import nn

STEPS = 32


def waves(n):
    t = torch.linspace(0, 2 * math.pi, STEPS)
    freq = torch.rand(n, 1) * 1.5 + 0.5
    phase = torch.rand(n, 1) * math.pi
    clean = torch.sin(freq * t + phase)
    return clean + 0.1 * torch.randn_like(clean), clean


class Encoder(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.rnn = nn.GRU(1, hidden, batch_first=True)

    def forward(self, x):
        _, h = self.rnn(x.unsqueeze(-1))
        return h[0]


class Decoder(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.up = nn.Linear(hidden, 48)
        self.draw = nn.Linear(48, STEPS)

    def forward(self, code):
        return self.draw(torch.tanh(self.up(code)))


def train(seed, steps=240, batch=48):
    torch.manual_seed(seed)
    encoder, decoder = Encoder(), Decoder()
    opt_e = torch.optim.RMSprop(encoder.parameters(), lr=2e-3)
    opt_d = torch.optim.SGD(decoder.parameters(), lr=0.1, momentum=0.5)
    for step in range(1, steps + 1):
        noisy, clean = waves(batch)
        #% if fault
        opt_e.zero_grad()  #% here
        #% else
        opt_e.zero_grad()
        opt_d.zero_grad()
        #% endif
        redrawn = decoder(encoder(noisy))
        loss = F.mse_loss(redrawn, clean)
        loss.backward()
        opt_e.step()
        opt_d.step()  #% here
        if step % 20 == 0:
            print("step", step, "reconstruction", round(loss.item(), 4))
    with torch.no_grad():
        noisy, clean = waves(400)
        return F.mse_loss(decoder(encoder(noisy)), clean).item()


print("final error", train(8))  #% seed
