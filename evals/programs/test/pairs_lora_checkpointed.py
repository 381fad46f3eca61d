"""Low-rank adapters on a frozen sequence encoder with activation checkpointing to save memory."""
import torch
import torch.nn as nn
from torch.utils.checkpoint import checkpoint


class LowRank(nn.Module):
    def __init__(self, base, rank=4):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + 2.0 * self.up(self.down(x))


class MixBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, h):
        shifted = torch.cat([h[:, -1:], h[:, :-1]], 1)
        return h + self.proj(torch.nn.functional.gelu(self.fc(self.norm(h + shifted))))


class Encoder(nn.Module):
    def __init__(self, vocab=30, width=32, blocks=3):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(MixBlock(width) for _ in range(blocks))
        self.head = nn.Linear(width, 2)

    def forward(self, ids):
        h = self.embed(ids)
        for block in self.blocks:
            #% if fault
            h = checkpoint(block, h, use_reentrant=True)  #% here
            #% else
            h = checkpoint(block, h, use_reentrant=False)
            #% endif
        return self.head(h.mean(1))


def add_adapters(model):
    model.requires_grad_(False)
    for block in model.blocks:
        block.fc, block.proj = LowRank(block.fc, 8), LowRank(block.proj, 8)
    model.head.requires_grad_(True)
    return model


def pairs(n):
    """Does token 0 ever directly precede token 1?"""
    ids = torch.randint(2, 30, (n, 12))
    at = torch.randint(11, (n,))
    order = torch.randint(2, (n,))
    rows = torch.arange(n)
    ids[rows, at], ids[rows, at + 1] = 1 - order, order
    return ids, order


torch.manual_seed(83)  #% seed
model = add_adapters(Encoder())
opt = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
for step in range(1, 181):
    ids, order = pairs(64)
    loss = nn.functional.cross_entropy(model(ids), order)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 30 == 0:
        print(f"step {step} loss {loss.item():.4f}")
with torch.no_grad():
    ids, order = pairs(600)
    print(f"accuracy {(model(ids).argmax(1) == order).float().mean().item():.3f}")
