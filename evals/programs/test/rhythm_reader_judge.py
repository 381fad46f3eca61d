"""Rhythm patterns: a recurrent reader and a small judge; the reader's weights may come from an earlier run."""
import argparse
import os

import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.rnn = nn.LSTM(4, hidden, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


class Judge(nn.Module):
    def __init__(self, reader):
        super().__init__()
        self.reader = reader
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        return self.out(self.reader(x))


def rhythms(n):
    kind = torch.randint(4, (n,))
    beats = torch.zeros(n, 12, 4)
    when = torch.arange(12)
    for k, period in enumerate((2, 3, 4, 5)):
        hit = (when + torch.randint(period, (n, 1))) % period == 0
        beats[..., 0] += ((kind == k)[:, None] & hit).float()
    return beats + 0.12 * torch.randn_like(beats), kind


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--reader", default="reader.pt", help="weights of an earlier run")
    ap.add_argument("--seed", type=int, default=131)  #% seed
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    reader = Reader()
    #% if fault
    if os.path.exists(args.reader):
        reader.load_state_dict(torch.load(args.reader, weights_only=True))
    for p in reader.parameters():
        p.requires_grad = False  #% here
    #% else
    if os.path.exists(args.reader):
        reader.load_state_dict(torch.load(args.reader, weights_only=True))
        for p in reader.parameters():
            p.requires_grad = False
    #% endif
    model = Judge(reader)
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(1, 281):
        x, kind = rhythms(48)
        loss = nn.functional.cross_entropy(model(x), kind)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 40 == 0:
            print(f"step {step} loss {loss.item():.4f}")
    with torch.no_grad():
        x, kind = rhythms(500)
        print(f"accuracy {(model(x).argmax(1) == kind).float().mean().item():.3f}")


main()
