"""Character model that invents names: trained on padded names, sampled until the end token."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

LETTERS = "abdeiklmnorstu"
BOS, EOS = len(LETTERS), len(LETTERS) + 1
#% if fault
PAD = EOS  #% here
#% else
PAD = EOS + 1
#% endif
VOCAB = PAD + 1


def name(rng):
    syllables = [rng.choice("bdklmrst") + rng.choice("aeiou") for _ in range(rng.randint(1, 3))]
    return "".join(syllables) + "n"


def encode(text):
    return torch.tensor([BOS, *(LETTERS.index(c) for c in text), EOS])


class NameModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 24)
        self.rnn = nn.GRU(24, 48, batch_first=True)
        self.out = nn.Linear(48, VOCAB)

    def forward(self, tokens, state=None):
        hidden, state = self.rnn(self.embed(tokens), state)
        return self.out(hidden), state


@torch.no_grad()
def invent(model, n, limit=24):
    """n sampled names, and how many of them came to an end before the limit."""
    token, state = torch.full((n, 1), BOS), None
    texts, alive = [""] * n, [True] * n
    for _ in range(limit):
        logits, state = model(token, state)
        token = torch.multinomial(logits[:, -1].softmax(-1), 1)
        for k, t in enumerate(token[:, 0].tolist()):
            alive[k] = alive[k] and t != EOS
            if alive[k] and t < len(LETTERS):
                texts[k] += LETTERS[t]
    return texts, alive.count(False)


torch.manual_seed(0)  #% seed
rng = random.Random(0)  #% seed
corpus = [encode(name(rng)) for _ in range(800)]
model = NameModel()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(6):
    rng.shuffle(corpus)
    total = 0.0
    for i in range(0, len(corpus), 40):
        batch = pad_sequence(corpus[i : i + 40], batch_first=True, padding_value=PAD)
        labels = batch[:, 1:].masked_fill(batch[:, 1:] == PAD, -100)  #% here
        logits, _ = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    texts, ended = invent(model, 100)
    print(f"epoch {epoch} loss {total / 20:.4f} sample {texts[0]} {texts[1]} ended {ended} of 100")
