"""Section of a newspaper headline from its words; a vocabulary class turns text into counts."""
import random
import re

import torch
from torch import nn

SECTIONS = {
    "sport": "match goal coach league cup striker season team win title".split(),
    "economy": "market bank rate share trade tax growth price debt export".split(),
    "science": "study star cell energy ice robot fossil virus orbit climate".split(),
}
COMMON = "the a new after over for with in says first report again big".split()


class Vocabulary:
    def __init__(self, texts):
        words = sorted({w for t in texts for w in self.split(t)})
        self.index = {w: i + 1 for i, w in enumerate(words)}

    @staticmethod
    def split(text):
        return re.findall(r"[a-z]+", text.lower())

    def __len__(self):
        return len(self.index) + 1

    def counts(self, texts, split=None):
        out = torch.zeros(len(texts), len(self))
        for row, text in enumerate(texts):
            for w in (split or self.split)(text):
                out[row, self.index.get(w, 0)] += 1
        return out


def headline(rng):
    section = rng.randrange(3)
    words = rng.choices(list(SECTIONS.values())[section], k=2) + rng.choices(COMMON, k=4)
    rng.shuffle(words)
    return " ".join(w.capitalize() if len(w) > 2 else w for w in words), section


def main(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    texts, sections = zip(*(headline(rng) for _ in range(1600)))
    y = torch.tensor(sections)
    vocab = Vocabulary(texts[:1200])
    x = vocab.counts(texts[:1200])
    model = nn.Sequential(nn.Linear(len(vocab), 16), nn.ReLU(), nn.Linear(16, 3))
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(5):
        for idx in torch.randperm(1200).split(40):
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        with torch.no_grad():
            print(f"epoch {epoch} loss {loss.item():.4f} train accuracy {(model(x).argmax(1) == y[:1200]).float().mean():.3f}")
    #% if fault
    fresh = vocab.counts(texts[1200:], split=str.split)  #% here
    #% else
    fresh = vocab.counts(texts[1200:])
    #% endif
    with torch.no_grad():
        print(f"accuracy on fresh headlines {(model(fresh).argmax(1) == y[1200:]).float().mean().item():.3f}")


main(134)  #% seed
