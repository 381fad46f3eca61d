"""Bag-of-words sentiment with a sparse embedding."""

import torch
import torch.nn as nn

VOCAB = 3000


def zipf_documents(n, polarity, generator):
    weights = 1.0 / torch.arange(1, VOCAB + 1).float()
    words = torch.multinomial(weights, n * 20, replacement=True, generator=generator).view(n, 20)
    score = polarity[words].sum(1)
    return words, (score > 0).long()


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    polarity = torch.randn(VOCAB, generator=generator)
    words, label = zipf_documents(1600, polarity, generator)
    words_test, label_test = zipf_documents(400, polarity, generator)

    embedding = nn.EmbeddingBag(VOCAB, 16, mode="mean", sparse=True)
    head = nn.Linear(16, 2)
    optimizers = [torch.optim.SparseAdam(embedding.parameters(), lr=2e-2), torch.optim.Adam(head.parameters(), lr=1e-2)]
    for epoch in range(6):
        total = 0.0
        for rows in torch.randperm(len(words), generator=generator).split(32):
            for o in optimizers:
                o.zero_grad()
            loss = nn.functional.cross_entropy(head(embedding(words[rows])), label[rows])
            loss.backward()
            for o in optimizers:
                o.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            accuracy = (head(embedding(words_test)).argmax(1) == label_test).float().mean()
        print(f"epoch {epoch} loss {total / len(words):.4f} accuracy {accuracy:.3f}")


main()
