"""Which of four composers? Short melodies, padded, read by an LSTM; the rate is lowered while training."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import ExponentialLR

NOTES, COMPOSERS, LONGEST = 13, 4, 40


def melody(rng):
    """Each composer prefers an interval."""
    composer, note, notes = rng.randrange(COMPOSERS), rng.randrange(12), []
    for _ in range(rng.randint(5, LONGEST // 3)):
        notes.append(1 + note)
        note = (note + (composer + 1 if rng.random() < 0.75 else rng.randrange(12))) % 12
    return torch.tensor(notes), composer


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.note = nn.Embedding(NOTES, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.composer = nn.Linear(32, COMPOSERS)

    def forward(self, notes, lengths):
        states, _ = self.lstm(self.note(notes))
        #% if fault:a
        last = states[:, -1]  #% here:a
        #% else
        last = states[torch.arange(len(notes)), lengths - 1]
        #% endif
        return self.composer(last)


def tensors(melodies):
    notes, composers = zip(*melodies, strict=True)
    lengths = torch.tensor([len(n) for n in notes])
    padded = pad_sequence([*notes, torch.zeros(LONGEST, dtype=torch.long)], batch_first=True)[:-1]
    return padded, lengths, torch.tensor(composers)


def main():
    torch.manual_seed(0)  #% seed
    rng = random.Random(0)  #% seed
    notes, lengths, composers = tensors([melody(rng) for _ in range(600)])
    test = tensors([melody(rng) for _ in range(200)])
    reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    scheduler = ExponentialLR(optimizer, gamma=0.85)
    for epoch in range(8):
        for rows in torch.randperm(600).split(30):
            loss = nn.functional.cross_entropy(reader(notes[rows], lengths[rows]), composers[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            #% if fault:b
            scheduler.step()  #% here:b
        #% else
        scheduler.step()
        #% endif
        with torch.no_grad():
            right = (reader(*test[:2]).argmax(1) == test[2]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} composer recognised {right:.3f}")


main()
