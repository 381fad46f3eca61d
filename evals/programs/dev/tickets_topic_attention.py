"""Route support tickets: a learned query attends to the words of a ticket, short tickets are padded."""

import random

import torch
from torch import nn

PAD, WORDS, TOPICS, LONGEST = 0, 81, 4, 14


def ticket(rng):
    """Words 1-40 belong to topics, the others to none; two or three words of the topic are in every ticket."""
    topic = rng.randrange(TOPICS)
    words = [1 + topic * 10 + rng.randrange(10) for _ in range(rng.randint(2, 3))]
    words += [rng.randint(41, WORDS - 1) for _ in range(rng.randint(1, LONGEST - 5))]
    rng.shuffle(words)
    return words + [PAD] * (LONGEST - len(words)), topic


class Router(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.word = nn.Embedding(WORDS, dim)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * 0.1)
        self.attend = nn.MultiheadAttention(dim, num_heads=2, batch_first=True)
        self.topic = nn.Linear(dim, TOPICS)

    def forward(self, words):
        x = self.word(words)
        #% if fault
        mask = words != PAD  #% here
        #% else
        mask = words == PAD
        #% endif
        pooled, _ = self.attend(self.query.expand(len(x), -1, -1), x, x, key_padding_mask=mask)
        return self.topic(pooled[:, 0])


def tensors(tickets):
    words, topics = zip(*tickets, strict=True)
    return torch.tensor(words), torch.tensor(topics)


def main():
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    words, topics = tensors([ticket(rng) for _ in range(800)])
    new_words, new_topics = tensors([ticket(rng) for _ in range(300)])
    router = Router()
    optimizer = torch.optim.AdamW(router.parameters(), lr=3e-3)
    for step in range(1, 241):
        rows = torch.randint(len(words), (40,))
        loss = nn.functional.cross_entropy(router(words[rows]), topics[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            with torch.no_grad():
                routed = (router(new_words).argmax(1) == new_topics).float().mean().item()
            print(f"step {step} loss {loss.item():.4f} routed well {routed:.3f}")


main()
