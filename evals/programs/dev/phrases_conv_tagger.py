"""Tag every word of a phrase with one of four parts of speech, with convolutions over the phrase."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

TAGS = ["noun", "verb", "adjective", "particle"]
WORDS_PER_TAG = 12
VOCAB = 1 + WORDS_PER_TAG * len(TAGS)


def phrase(rng):
    """Words belong to a tag, but one in five is used as the tag that its left neighbour suggests."""
    words, tags = [], []
    for _ in range(rng.randint(3, 9)):
        tag = rng.randrange(len(TAGS))
        words.append(1 + tag * WORDS_PER_TAG + rng.randrange(WORDS_PER_TAG))
        if tags and words[-1] % 5 == 0:
            tag = (tags[-1] + 1) % len(TAGS)
        tags.append(tag)
    return torch.tensor(words), torch.tensor(tags)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 24, padding_idx=0)
        self.context = nn.Conv1d(24, 48, 3, padding=1)
        self.tag = nn.Conv1d(48, len(TAGS), 1)

    def forward(self, words):
        return self.tag(torch.relu(self.context(self.embedding(words).transpose(1, 2))))


def batches(phrases, size, rng):
    rng.shuffle(phrases)
    for i in range(0, len(phrases), size):
        words, tags = zip(*phrases[i : i + size], strict=True)
        #% if fault
        yield pad_sequence(words, batch_first=True), pad_sequence(tags, batch_first=True)  #% here
        #% else
        yield pad_sequence(words, batch_first=True), pad_sequence(tags, batch_first=True, padding_value=-100)
        #% endif


def recalls(model, phrases):
    seen, hit = torch.zeros(len(TAGS)), torch.zeros(len(TAGS))
    for words, tags in phrases:
        said = model(words[None])[0].argmax(0)
        seen += torch.bincount(tags, minlength=len(TAGS))
        hit += torch.bincount(tags[said == tags], minlength=len(TAGS))
    return (hit / seen).tolist()


def main():
    rng = random.Random(0)  #% seed
    torch.manual_seed(0)  #% seed
    train, test = [phrase(rng) for _ in range(700)], [phrase(rng) for _ in range(150)]
    model = Tagger()
    #% if fault
    criterion = nn.CrossEntropyLoss(ignore_index=0)  #% here
    #% else
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    #% endif
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(8):
        total = 0.0
        for words, tags in batches(train, 35, rng):
            loss = criterion(model(words), tags)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            recall = recalls(model, test)
        print(f"epoch {epoch} loss {total / 20:.4f} " + " ".join(f"{t} {r:.3f}" for t, r in zip(TAGS, recall, strict=True)))


main()
