"""Train with separate query, key and value layers, then export to the fused layer of the inference code."""

import torch
from torch import nn

TOKENS, DIM, HEADS = 12, 32, 4


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (part(x).view(b, t, HEADS, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = torch.softmax(q @ k.transpose(2, 3) / (DIM // HEADS) ** 0.5, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(b, t, DIM))


class Finder(nn.Module):
    """What follows the marker (token 0)?"""

    def __init__(self, attention):
        super().__init__()
        self.token, self.place = nn.Embedding(TOKENS + 1, DIM), nn.Embedding(8, DIM)
        self.attention = attention
        self.answer = nn.Sequential(nn.Linear(DIM, 48), nn.ReLU(), nn.Linear(48, TOKENS))

    def forward(self, ids):
        x = self.token(ids) + self.place.weight
        x = x + torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1).roll(1, 2)
        return self.answer((x + self.attention(x)).mean(1))


class FusedAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, HEADS, 3, -1).permute(3, 0, 2, 1, 4)
        mixed = torch.softmax(q @ k.transpose(2, 3) / (DIM // HEADS) ** 0.5, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(b, t, DIM))


def export(trained):
    fused = Finder(FusedAttention())
    state = {k: v for k, v in trained.state_dict().items() if not k.startswith(("attention.q", "attention.k", "attention.v"))}
    parts = [trained.attention.q, trained.attention.k, trained.attention.v]
    #% if fault
    state["attention.qkv.weight"] = torch.cat([p.weight for p in parts])  #% here
    state["attention.qkv.bias"] = torch.cat([p.bias for p in parts])
    #% else
    state["attention.qkv.weight"] = torch.stack([p.weight.view(HEADS, -1, DIM) for p in parts], 1).reshape(3 * DIM, DIM)
    state["attention.qkv.bias"] = torch.stack([p.bias.view(HEADS, -1) for p in parts], 1).flatten()
    #% endif
    fused.load_state_dict(state)
    return fused


def puzzles(n):
    ids = torch.randint(1, TOKENS, (n, 8))
    place = torch.randint(7, (n,))
    ids[torch.arange(n), place] = 0
    return ids, ids[torch.arange(n), place + 1]


torch.manual_seed(0)  #% seed
model = Finder(Attention())
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
for step in range(1, 351):
    ids, wanted = puzzles(64)
    loss = nn.functional.cross_entropy(model(ids), wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 35 == 0:
        print(f"step {step} loss {loss.item():.4f}")
ids, wanted = puzzles(500)
with torch.no_grad():
    print(f"trained {(model(ids).argmax(1) == wanted).float().mean():.3f}")
    print(f"exported {(export(model)(ids).argmax(1) == wanted).float().mean():.3f}")
