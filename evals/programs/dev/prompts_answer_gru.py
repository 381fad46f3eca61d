"""A small recurrent language model learns to answer: find the key in the prompt and name it."""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

SEP, FIRST_KEY, KEYS, FIRST_FILLER, VOCAB = 1, 2, 6, 8, 20


@dataclass
class Config:
    hidden: int = 48
    lr: float = 8e-3
    batch_size: int = 30
    epochs: int = 8
    #% if fault
    max_len: int = 16  #% here
    #% else
    max_len: int = 48
    #% endif


def example(rng):
    prompt = [rng.randint(FIRST_FILLER, VOCAB - 1) for _ in range(rng.randint(14, 40))]
    key = rng.randrange(KEYS)
    prompt[rng.randrange(len(prompt))] = FIRST_KEY + key
    return [*prompt, SEP], [FIRST_KEY + key]


def collate(examples, max_len):
    """Token ids and next-token labels; only the answer is scored."""
    rows, labels = [], []
    for prompt, answer in examples:
        rows.append((prompt + answer)[:max_len])
        labels.append(([-100] * len(prompt) + answer)[:max_len])
    width = max(map(len, rows))
    ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
    return ids[:, :-1], torch.tensor([r + [-100] * (width - len(r)) for r in labels])[:, 1:]


class Model(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, VOCAB)

    def forward(self, ids):
        return self.head(self.gru(self.embed(ids))[0])


def main(cfg):
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    train, held_out = [example(rng) for _ in range(600)], [example(rng) for _ in range(200)]
    model = Model(cfg.hidden)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        rng.shuffle(train)
        total = 0.0
        for i in range(0, len(train), cfg.batch_size):
            ids, labels = collate(train[i : i + cfg.batch_size], cfg.max_len)
            nll = F.cross_entropy(model(ids).transpose(1, 2), labels, ignore_index=-100, reduction="sum")
            loss = nll / max((labels != -100).sum().item(), 1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            right = [model(torch.tensor([p]))[0, -1].argmax().item() == a[0] for p, a in held_out]
        print(f"epoch {epoch} loss {total * cfg.batch_size / len(train):.4f} answers right {sum(right) / len(right):.3f}")


if __name__ == "__main__":
    main(Config())
