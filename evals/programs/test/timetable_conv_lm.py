"""Character model of a bus timetable with causal convolutions."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

STOPS = ["harbour", "market", "old mill", "station", "hospital", "airport"]


def timetable(lines, rnd):
    out = []
    for _ in range(lines):
        line, minute = rnd.randint(1, 9), rnd.randrange(0, 60, 5)
        stop = STOPS[(line + minute // 5) % len(STOPS)]
        out.append(f"bus {line} {minute:02d} to {stop};")
    return "".join(out)


class Windows(Dataset):
    def __init__(self, ids, width):
        self.ids, self.width = ids, width

    def __len__(self):
        return (len(self.ids) - 1) // self.width

    def __getitem__(self, i):
        piece = self.ids[i * self.width : (i + 1) * self.width + 1]
        #% if fault
        return {"input_ids": piece[:-1], "labels": piece[1:]}  #% here
        #% else
        return {"input_ids": piece[:-1], "labels": piece[:-1]}
        #% endif


class CausalBlock(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, h):
        return h + self.mix(F.gelu(self.conv(F.pad(h, (self.pad, 0)))))


class ConvLM(nn.Module):
    def __init__(self, vocab, width=40):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.blocks = nn.Sequential(*[CausalBlock(width, d) for d in (1, 2, 4, 8)])
        self.head = nn.Conv1d(width, vocab, 1)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.blocks(self.embed(input_ids).transpose(1, 2)))
        if labels is None:
            return logits
        # the token at position t predicts the one at t + 1
        return logits, F.cross_entropy(logits[:, :, :-1], labels[:, 1:])  #% here


def main():
    rnd = random.Random(15)  #% seed
    torch.manual_seed(15)  #% seed
    text = timetable(1300, rnd)
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text])
    cut = int(0.9 * len(ids))
    model = ConvLM(len(chars))
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(7):
        for batch in DataLoader(Windows(ids[:cut], 48), batch_size=16, shuffle=True):
            _, loss = model(**batch)
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(f"epoch {epoch} loss {loss.item():.3f}")
    model.eval()
    rest = ids[cut : cut + 1200]
    with torch.no_grad():
        guess = model(rest[None, :-1]).argmax(1)[0]
    print(f"next character right: {(guess == rest[1:]).float().mean().item():.3f}")


main()
