"""A tiny decoder-only transformer adds two numbers written as digits."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CHARS = "0123456789+=;"
STOI = {c: i for i, c in enumerate(CHARS)}


def problems(n, gen):
    a = torch.randint(10, (n,), generator=gen).tolist()
    b = torch.randint(10, (n,), generator=gen).tolist()
    return torch.tensor([[STOI[c] for c in f"{p}+{q}={p + q:02d};"] for p, q in zip(a, b)])


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attention(self, h):
        b, t, c = h.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(h).chunk(3, dim=-1))
        score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        #% if fault
        hide = torch.ones(t, t).tril(-1).bool()  #% here
        #% else
        hide = torch.ones(t, t).triu(1).bool()
        #% endif
        score = score.masked_fill(hide, -1e9)
        return self.merge((score.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))

    def forward(self, h):
        h = h + self.attention(self.ln1(h))
        return h + self.mlp(self.ln2(h))


class AdderLM(nn.Module):
    def __init__(self, width=48, length=8):
        super().__init__()
        self.tok = nn.Embedding(len(CHARS), width)
        self.pos = nn.Embedding(length, width)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(CHARS), bias=False)

    def forward(self, ids):
        h = self.tok(ids) + self.pos(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(h)))


@torch.no_grad()
def solve(model, ids):
    """Continue after the equals sign, greedily."""
    out = ids[:, :4]
    for _ in range(2):
        out = torch.cat([out, model(out)[:, -1:].argmax(-1)], 1)
    return (out == ids[:, :6]).all(1).float().mean().item()


gen = torch.Generator().manual_seed(18)  #% seed
torch.manual_seed(18)  #% seed
model = AdderLM()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
for step in range(1, 301):
    ids = problems(64, gen)
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        model.eval()
        print(f"step {step} loss {loss.item():.4f} solved {solve(model, problems(200, gen)):.3f}")
        model.train()
