"""Sentiment of short product notes: an embedding bag whose vocabulary grows with the second product."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(3)  #% seed
random.seed(11)  #% seed


def make_notes(words, scores, n):
    notes, labels = [], []
    for _ in range(n):
        picked = random.choices(words, k=random.randint(5, 14))
        notes.append(picked)
        labels.append(int(sum(scores[w] for w in picked) > 0))
    return notes, labels


kitchen = [f"k{i}" for i in range(60)]
garden = [f"g{i}" for i in range(160)]
scores = {w: random.gauss(0, 1) for w in kitchen + garden}

first_notes, first_labels = make_notes(kitchen, scores, 600)
second_notes, second_labels = make_notes(kitchen + garden, scores, 2400)
held_notes, held_labels = make_notes(kitchen + garden, scores, 500)


class NoteClassifier(nn.Module):
    def __init__(self, n_words, dim=6):
        super().__init__()
        self.words = nn.EmbeddingBag(n_words, dim, mode="mean")
        self.out = nn.Linear(dim, 2)

    def grow(self, n_words):
        old = self.words
        self.words = nn.EmbeddingBag(n_words, old.embedding_dim, mode=old.mode)
        with torch.no_grad():
            self.words.weight[: old.num_embeddings] = old.weight

    def forward(self, ids, offsets):
        return self.out(self.words(ids, offsets))


vocab = {w: i for i, w in enumerate(kitchen)}


def collate(notes, labels):
    ids, offsets = [], []
    for note in notes:
        offsets.append(len(ids))
        ids.extend(vocab[w] for w in note)
    return torch.tensor(ids), torch.tensor(offsets), torch.tensor(labels)


def one_epoch(model, opt, notes, labels, size=64):
    order = list(range(len(notes)))
    random.shuffle(order)
    total = 0.0
    for at in range(0, len(order), size):
        rows = order[at : at + size]
        ids, offsets, y = collate([notes[r] for r in rows], [labels[r] for r in rows])
        opt.zero_grad()
        loss = F.cross_entropy(model(ids, offsets), y)
        loss.backward()
        opt.step()
        total += loss.item() * len(rows)
    return total / len(order)


model = NoteClassifier(len(vocab))
opt = torch.optim.Adam(model.parameters(), lr=0.02)  #% here
for epoch in range(2):
    print(f"kitchen  epoch {epoch} loss {one_epoch(model, opt, first_notes, first_labels):.4f}")

for word in garden:
    vocab.setdefault(word, len(vocab))
model.grow(len(vocab))  #% here
#% if fault
#% else
opt = torch.optim.Adam(model.parameters(), lr=0.02)
#% endif
for epoch in range(10):
    print(f"all      epoch {epoch} loss {one_epoch(model, opt, second_notes, second_labels):.4f}")

with torch.no_grad():
    ids, offsets, y = collate(held_notes, held_labels)
    acc = (model(ids, offsets).argmax(1) == y).float().mean().item()
print(f"held-out accuracy {acc:.3f}")
