"""Part-of-speech tagging on a toy grammar; sentences are padded to a common length."""
import random

import torch
from torch import nn

PAD_WORD = PAD_TAG = 0
TAGS = ["<pad>", "det", "adj", "noun", "verb", "adv"]
FOLLOWS = {1: [2, 3], 2: [2, 3], 3: [4], 4: [5, 1], 5: [1, 4]}


def sentence(rng):
    tag, words, tags = rng.choice([1, 3]), [], []
    while len(tags) < rng.randint(2, 5):
        tags.append(tag)
        # every word form serves two tags, context decides
        words.append(1 + 3 * rng.randrange(10) + (tag % 3))
        tag = rng.choice(FOLLOWS[tag])
    return words, tags


def pad(batch, width=40):
    w = torch.full((len(batch), width), PAD_WORD)
    t = torch.full((len(batch), width), PAD_TAG)
    for i, (words, tags) in enumerate(batch):
        w[i, : len(words)] = torch.tensor(words)
        t[i, : len(tags)] = torch.tensor(tags)
    return w, t


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(40, 12)
        self.conv = nn.Conv1d(12, 32, 5, padding=2)
        self.out = nn.Conv1d(32, len(TAGS), 1)

    def forward(self, w):
        return self.out(torch.relu(self.conv(self.emb(w).transpose(1, 2))))


def main(seed=3, steps=70):  #% seed
    rng = random.Random(seed)
    torch.manual_seed(seed)
    train, test = [sentence(rng) for _ in range(1200)], [sentence(rng) for _ in range(300)]
    model = Tagger()
    opt = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.8)
    for step in range(steps):
        w, t = pad(rng.sample(train, 16))
        #% if fault
        loss = nn.functional.cross_entropy(model(w), t)  #% here
        #% else
        loss = nn.functional.cross_entropy(model(w), t, ignore_index=PAD_TAG)
        #% endif
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 10 == 9:
            print("step", step + 1, "loss", f"{loss.item():.4f}")
    w, t = pad(test)
    real = t != PAD_TAG
    with torch.no_grad():
        hit = (model(w).argmax(1) == t)[real].float().mean().item()
    print(f"tag accuracy on words {hit:.3f}")


if __name__ == "__main__":
    main()
