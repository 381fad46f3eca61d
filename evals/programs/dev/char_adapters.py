"""Adapters inside a small pretrained character transformer, with activation checkpointing to save memory."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

warnings.filterwarnings("ignore", category=FutureWarning)
CONTEXT = 24


class Adapter(nn.Module):
    def __init__(self, dim, size=8):
        super().__init__()
        self.down = nn.Linear(dim, size)
        self.up = nn.Linear(size, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + self.up(F.relu(self.down(x)))


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.adapter = nn.Identity()

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        h = self.norm1(x)
        x = x + self.attention(h, h, h, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return self.adapter(x + self.ffn(self.norm2(x)))


class Decoder(nn.Module):
    def __init__(self, vocab, dim=32, depth=2):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.position = nn.Parameter(0.1 * torch.randn(CONTEXT, dim))
        self.layers = nn.ModuleList(Layer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab)
        self.checkpointing = False

    def forward(self, ids):
        x = self.embed(ids) + self.position[: ids.size(1)]
        for layer in self.layers:
            if self.checkpointing:
                #% if fault
                x = checkpoint(layer, x, use_reentrant=True)  #% here
                #% else
                x = checkpoint(layer, x, use_reentrant=False)
                #% endif
            else:
                x = layer(x)
        return self.head(self.norm(x))


def make_text(words, n):
    return " ".join(words[i] for i in torch.randint(len(words), (n,)).tolist())


def train(model, parameters, ids, steps, lr, tag):
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    for step in range(1, steps + 1):
        start = torch.randint(len(ids) - CONTEXT - 1, (16,)).tolist()
        chunk = torch.stack([ids[s : s + CONTEXT + 1] for s in start])
        loss = F.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"{tag} step {step} loss {loss.item():.4f}")


def main():
    torch.manual_seed(0)  #% seed
    letters = " abcdefghijklmnopqrstuvwxyz"
    encode = lambda text: torch.tensor([letters.index(c) for c in text])
    source = encode(make_text(["red", "green", "blue", "yellow", "white"], 700))
    target = encode(make_text(["lemon", "apple", "pear", "grape", "plum"], 700))

    model = Decoder(len(letters))
    train(model, model.parameters(), source, steps=80, lr=5e-3, tag="pretrain")
    for p in model.parameters():
        p.requires_grad = False
    for layer in model.layers:
        layer.adapter = Adapter(32)
    model.checkpointing = True
    # the new alphabet needs its own output bias
    model.head.bias.requires_grad = True
    train(model, [p for p in model.parameters() if p.requires_grad], target, steps=160, lr=1e-2, tag="adapt")


main()
