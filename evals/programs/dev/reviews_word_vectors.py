"""Positive or negative? Averaged word vectors and a linear layer; vectors start from a small general-purpose table."""

import random

import torch
from torch import nn

WORDS, DIM = 120, 12


def review(rng):
    """Words 0-19 are kind, 20-39 are harsh, the rest says nothing."""
    good = rng.random() < 0.5
    tone = [rng.randrange(20) + (0 if good else 20) for _ in range(rng.randint(1, 2))]
    words = tone + [rng.randrange(40, WORDS) for _ in range(10 - len(tone))]
    return words, float(good)


def general_vectors():
    """Vectors of another project: they know topics, but little about tone."""
    topics = torch.randn(8, DIM)
    return topics[torch.arange(WORDS) % 8] + 0.02 * torch.randn(WORDS, DIM)


class Classifier(nn.Module):
    def __init__(self, vectors):
        super().__init__()
        #% if fault
        self.vectors = nn.Embedding.from_pretrained(vectors)  #% here
        #% else
        self.vectors = nn.Embedding.from_pretrained(vectors, freeze=False)
        #% endif
        self.decide = nn.Linear(DIM, 1)

    def forward(self, words):
        return self.decide(self.vectors(words).mean(1)).squeeze(1)


def main():
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    words, good = map(torch.tensor, zip(*[review(rng) for _ in range(1400)], strict=True))
    model = Classifier(general_vectors())
    print(f"{sum(p.numel() for p in model.parameters())} weights")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(10):
        for rows in torch.randperm(1000).split(50):
            loss = nn.functional.binary_cross_entropy_with_logits(model(words[rows]), good[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = ((model(words[1000:]) > 0) == (good[1000:] > 0.5)).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} right {right:.3f}")


main()
