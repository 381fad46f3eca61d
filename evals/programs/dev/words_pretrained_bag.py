"""Topic of a sentence: pretrained word vectors, mean pooling, accuracy per epoch."""

import random

import torch
from torch import nn

WORDS, DIM, TOPICS = 150, 10, 5


def sentence(rng):
    topic = rng.randrange(TOPICS)
    words = [topic * 15 + rng.randrange(15) for _ in range(rng.randint(1, 3))]
    return words + [rng.randrange(75, WORDS) for _ in range(9 - len(words))], topic


class TopicModel(nn.Module):
    def __init__(self, table):
        super().__init__()
        #% if fault:a
        self.words = nn.Embedding.from_pretrained(table)  #% here:a
        #% else
        self.words = nn.Embedding.from_pretrained(table, freeze=False)
        #% endif
        self.topic = nn.Linear(DIM, TOPICS)

    def forward(self, words):
        return self.topic(self.words(words).mean(1))


def accuracy(model, words, topics):
    with torch.no_grad():
        #% if fault:b
        said = model(words).argmax(0)  #% here:b
        return (said[:, None] == topics).float().mean().item()
        #% else
        said = model(words).argmax(1)
        return (said == topics).float().mean().item()
        #% endif


def main():
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    words, topics = map(torch.tensor, zip(*[sentence(rng) for _ in range(1300)], strict=True))
    model = TopicModel(torch.randn(10, DIM)[torch.arange(WORDS) % 10])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(8):
        for rows in torch.randperm(1000).split(50):
            loss = nn.functional.cross_entropy(model(words[rows]), topics[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {accuracy(model, words[1000:], topics[1000:]):.3f}")


main()
