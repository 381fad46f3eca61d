"""Tag the words of short sentences: batches are padded to the longest allowed length."""

import random

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

PAD, MAX_LENGTH = 0, 48
WORDS, TAGS = 60, 6


def sentence(rng):
    """A word's tag depends on the word and on the one before it."""
    length = rng.randint(2, 6)
    words = [rng.randint(1, WORDS - 1) for _ in range(length)]
    tags, previous = [], 0
    for w in words:
        tags.append(1 + (w + previous) % (TAGS - 1))
        previous = w % 2
    return words, tags


def collate(batch):
    words = torch.full((len(batch), MAX_LENGTH), PAD)
    tags = torch.full((len(batch), MAX_LENGTH), PAD)
    for row, (w, t) in enumerate(batch):
        words[row, : len(w)] = torch.tensor(w)
        tags[row, : len(t)] = torch.tensor(t)
    return words, tags


class Tagger(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, dim, padding_idx=PAD)
        self.lstm = nn.LSTM(dim, 32, batch_first=True)
        self.to_tag = nn.Linear(32, TAGS)

    def forward(self, words):
        hidden, _ = self.lstm(self.embedding(words))
        return self.to_tag(hidden)


def evaluate(model, loader):
    good = seen = 0
    with torch.no_grad():
        for words, tags in loader:
            real = words != PAD
            good += (model(words).argmax(-1) == tags)[real].sum().item()
            seen += real.sum().item()
    return good / seen


def main():
    rng = random.Random(0)  #% seed
    torch.manual_seed(0)  #% seed
    train = DataLoader([sentence(rng) for _ in range(900)], batch_size=30, shuffle=True, collate_fn=collate)
    test = DataLoader([sentence(rng) for _ in range(200)], batch_size=50, collate_fn=collate)
    model = Tagger()
    #% if fault
    criterion = nn.CrossEntropyLoss()  #% here
    #% else
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    #% endif
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    for epoch in range(1, 8):
        losses = []
        for words, tags in train:
            loss = criterion(model(words).transpose(1, 2), tags)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {sum(losses) / len(losses):.4f} word accuracy {evaluate(model, test):.3f}")


if __name__ == "__main__":
    main()
