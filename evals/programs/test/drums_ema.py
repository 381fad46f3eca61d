"""Noisy training of a drum classifier; an averaged copy of the weights is evaluated and exported."""
import copy

import torch
from torch import nn


class Average:
    def __init__(self, model, decay=0.97):
        self.decay, self.copy = decay, copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for mine, theirs in zip(self.copy.parameters(), model.parameters()):
            #% if fault
            mine = self.decay * mine + (1 - self.decay) * theirs  #% here
            #% else
            mine.copy_(self.decay * mine + (1 - self.decay) * theirs)
            #% endif


def drums(n, proto):
    k = torch.randint(len(proto), (n,))
    return proto[k] + 1.2 * torch.randn(n, proto.shape[1]), k


def accuracy(model, x, k):
    with torch.no_grad():
        return (model(x).argmax(1) == k).float().mean().item()


def main(seed):
    torch.manual_seed(seed)
    proto = torch.randn(7, 18)
    model = nn.Sequential(nn.Linear(18, 36), nn.LeakyReLU(), nn.Linear(36, 7))
    ema = Average(model)
    opt = torch.optim.SGD(model.parameters(), lr=0.3)
    x_val, k_val = drums(800, proto)
    for step in range(1, 251):
        x, k = drums(16, proto)
        loss = nn.functional.cross_entropy(model(x), k)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema.update(model)
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} live {accuracy(model, x_val, k_val):.3f}")
    print(f"exported model accuracy {accuracy(ema.copy, x_val, k_val):.3f}")


main(102)  #% seed
