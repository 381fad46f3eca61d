"""Language model on noisy cyclic token sequences, then generation from a prompt."""

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, CONTEXT = 12, 16


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        #% if fault
        self.register_buffer("mask", torch.triu(torch.ones(CONTEXT, CONTEXT), diagonal=2).bool())  #% here
        #% else
        self.register_buffer("mask", torch.triu(torch.ones(CONTEXT, CONTEXT), diagonal=1).bool())
        #% endif

    def forward(self, x):
        t, d = x.size(1), x.size(2)
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = (q @ k.transpose(1, 2)) / d**0.5
        scores = scores.masked_fill(self.mask[:t, :t], float("-inf"))
        return self.out(scores.softmax(-1) @ v)


class TokenModel(nn.Module):
    def __init__(self, dim=32, depth=2):
        super().__init__()
        self.token, self.place = nn.Embedding(VOCAB, dim), nn.Embedding(CONTEXT, dim)
        self.attention = nn.ModuleList(Attention(dim) for _ in range(depth))
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim)) for _ in range(depth))
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth))
        self.head = nn.Linear(dim, VOCAB)

    def forward(self, ids):
        x = self.token(ids) + self.place.weight[: ids.size(1)]
        for i, (attend, mlp) in enumerate(zip(self.attention, self.mlp)):
            x = x + attend(self.norm[2 * i](x))
            x = x + mlp(self.norm[2 * i + 1](x))
        return self.head(x)


def sequences(n, length):
    """Each sequence counts upwards by its own stride, modulo the vocabulary; one token in ten is noise."""
    start, stride = torch.randint(VOCAB, (n, 1)), torch.randint(1, 4, (n, 1))
    clean = (start + stride * torch.arange(length)) % VOCAB
    noise = torch.rand(n, length) < 0.1
    return torch.where(noise, torch.randint(VOCAB, (n, length)), clean), clean


def main():
    torch.manual_seed(0)  #% seed
    model = TokenModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(1, 301):
        ids, _ = sequences(32, CONTEXT + 1)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            print(f"step {step} loss {loss.item():.4f}")

    _, clean = sequences(100, CONTEXT)
    ids = clean[:, :8]
    with torch.no_grad():
        while ids.size(1) < CONTEXT:
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    print(f"generated tokens that continue the pattern {(ids == clean)[:, 8:].float().mean():.3f}")


main()
