"""Generates names of invented towns, letter by letter, with an LSTM; a name ends with the end token."""
import random

import torch
from torch import nn

HEAD = ["ash", "bram", "cold", "dun", "elm", "fair", "glen", "hart"]
TAIL = ["ford", "ley", "mouth", "stead", "wick", "ton", "by"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Tokenizer:
    bos, eos = 26, 27
    #% if fault
    pad = eos  #% here
    #% else
    pad = 28
    #% endif
    size = 29

    def batch(self, names):
        longest = max(map(len, names)) + 2
        rows = [[self.bos] + [LETTERS.index(c) for c in n] + [self.eos] for n in names]
        ids = torch.tensor([r + [self.pad] * (longest - len(r)) for r in rows])
        labels = ids.clone()
        labels[labels == self.pad] = -100  #% here
        return ids[:, :-1], labels[:, 1:]


class NameModel(nn.Module):
    def __init__(self, size, width=48):
        super().__init__()
        self.emb = nn.Embedding(size, 24)
        self.lstm = nn.LSTM(24, width, batch_first=True)
        self.to_logits = nn.Linear(width, size)

    def forward(self, ids, state=None):
        h, state = self.lstm(self.emb(ids), state)
        return self.to_logits(h), state


@torch.no_grad()
def sample(model, tok, limit=20):
    ids, state, name = torch.tensor([[tok.bos]]), None, ""
    while len(name) < limit:
        logits, state = model(ids, state)
        logits[..., tok.bos] = -float("inf")
        nxt = int(torch.multinomial(logits[0, -1].softmax(0), 1))
        if nxt >= len(LETTERS):
            return name, True
        name += LETTERS[nxt]
        ids = torch.tensor([[nxt]])
    return name, False


def main(seed):
    random.seed(seed)
    torch.manual_seed(seed)
    tok = Tokenizer()
    names = [random.choice(HEAD) + random.choice(["", "er", "en"]) + random.choice(TAIL) for _ in range(1200)]
    model = NameModel(tok.size)
    opt = torch.optim.Adam(model.parameters(), lr=6e-3)
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    for epoch in range(6):
        random.shuffle(names)
        for at in range(0, len(names), 40):
            ids, labels = tok.batch(names[at : at + 40])
            logits, _ = model(ids)
            loss = criterion(logits.reshape(-1, tok.size), labels.reshape(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, e.g. {sample(model, tok)[0]}")
    ended = sum(sample(model, tok)[1] for _ in range(100)) / 100
    print(f"names that end within 20 letters: {ended:.2f}")


main(16)  #% seed
