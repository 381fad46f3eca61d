"""Character model of synthetic sentences (GRU), reporting next-character accuracy on held-out text."""

import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def write_text(rng, n):
    names, verbs = ["anna", "boris", "clara", "dmitri"], ["calls", "meets", "thanks", "follows"]
    return " ".join(f"{rng.choice(names)} {rng.choice(verbs)} {rng.choice(names)}." for _ in range(n))


class Windows(Dataset):
    def __init__(self, text, chars, size=40):
        self.ids = torch.tensor([chars.index(c) for c in text])
        self.size = size

    def __len__(self):
        return (len(self.ids) - 1) // self.size

    def __getitem__(self, i):
        chunk = self.ids[i * self.size : (i + 1) * self.size + 1]
        return chunk[:-1], chunk[1:]


class CharModel(nn.Module):
    def __init__(self, n_chars, dim=24, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(n_chars, dim)
        self.rnn = nn.GRU(dim, hidden, batch_first=True)
        self.out = nn.Linear(hidden, n_chars)

    def forward(self, ids, labels=None):
        logits = self.out(self.rnn(self.embed(ids))[0])
        if labels is None:
            return logits
        #% if fault
        shifted, labels = logits[:, :-1], labels[:, 1:]  #% here
        return nn.functional.cross_entropy(shifted.flatten(0, 1), labels.flatten())
        #% else
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        #% endif


def main(seed):
    torch.manual_seed(seed)
    rng = random.Random(seed)
    train_text, test_text = write_text(rng, 500), write_text(rng, 60)
    chars = sorted(set(train_text))
    loader = DataLoader(Windows(train_text, chars), batch_size=16, shuffle=True)
    model = CharModel(len(chars))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(8):
        losses = []
        for ids, labels in loader:
            loss = model(ids, labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {sum(losses) / len(losses):.3f}")

    ids = torch.tensor([chars.index(c) for c in test_text])
    with torch.no_grad():
        guess = model(ids[None, :-1]).argmax(-1)[0]
    print(f"next-character accuracy {(guess == ids[1:]).float().mean():.3f}")


if __name__ == "__main__":
    main(seed=0)  #% seed
