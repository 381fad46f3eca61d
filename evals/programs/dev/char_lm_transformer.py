"""A small causal transformer on synthetic sentences, trained with linear warm-up and inverse square root decay."""

import math

import torch
import torch.nn.functional as F
from torch import nn

SUBJECTS = ["the cat", "a dog", "my bird", "the old fox"]
VERBS = ["sees", "likes", "finds", "hears"]
OBJECTS = ["a tree", "the river", "an apple", "the moon"]


def corpus(generator, sentences=400):
    pick = lambda words: words[torch.randint(len(words), (1,), generator=generator).item()]
    return "".join(f"{pick(SUBJECTS)} {pick(VERBS)} {pick(OBJECTS)}. " for _ in range(sentences))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp(self.norm2(x))


class CharLM(nn.Module):
    def __init__(self, vocab, dim=32, heads=2, depth=2, context=32):
        super().__init__()
        self.tok = nn.Embedding(vocab, dim)
        self.pos = nn.Embedding(context, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, vocab, bias=False)

    def forward(self, idx, targets):
        x = self.tok(idx) + self.pos(torch.arange(idx.size(1)))
        for block in self.blocks:
            x = block(x)
        logits = self.lm_head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    text = corpus(generator)
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text])
    context, warmup, peak, steps = 32, 90, 6e-3, 260

    model = CharLM(len(chars), context=context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: ((s + 1) / warmup) ** 3 if s < warmup else math.sqrt(warmup / (s + 1))
    )
    for step in range(steps):
        start = torch.randint(len(ids) - context - 1, (16,), generator=generator)
        x = torch.stack([ids[s : s + context] for s in start])
        y = torch.stack([ids[s + 1 : s + context + 1] for s in start])
        loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step} lr {schedule.get_last_lr()[0]:.2e} loss {loss.item():.4f} (uniform: {math.log(len(chars)):.2f})")


if __name__ == "__main__":
    main()
