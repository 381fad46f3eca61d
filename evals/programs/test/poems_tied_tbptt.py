"""Character GRU with tied embeddings on a rhyming toy text, truncated backpropagation with a carried state."""
import random

import torch
from torch import nn

random.seed(128)  #% seed
torch.manual_seed(128)  #% seed
RHYMES = [("moon", "june"), ("tree", "bee"), ("rain", "grain"), ("light", "night")]
text = "".join(f"the {a} and the {b}\n" for a, b in random.choices(RHYMES, k=1500))
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])


class Poet(nn.Module):
    def __init__(self, n, width=40):
        super().__init__()
        self.emb = nn.Embedding(n, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, n, bias=False)
        self.out.weight = self.emb.weight

    def forward(self, x, h):
        y, h = self.gru(self.emb(x), h)
        return self.out(y), h


rows = ids[: len(ids) // 16 * 16].view(16, -1)
poet = Poet(len(chars))
nn.init.normal_(poet.emb.weight, std=0.3)
opt = torch.optim.Adam(poet.parameters(), lr=5e-3)
h = None
for n, at in enumerate(range(0, rows.shape[1] - 17, 16)):
    logits, h = poet(rows[:, at : at + 16], h)
    h = h.detach()
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, at + 1 : at + 17].flatten())
    opt.zero_grad()
    loss.backward()
    opt.step()
    if n % 20 == 19:
        print(f"chunk {n + 1} loss {loss.item():.4f}")
