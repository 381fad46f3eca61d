"""Recall task: the first symbol of a stream must be named fifteen steps later; trained in chunks."""
import torch
from torch import nn

SYMBOLS, LENGTH, CHUNK = 6, 16, 4


class Memory(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS + 1, 12)
        self.cell = nn.GRU(12, hidden, batch_first=True)
        self.answer = nn.Linear(hidden, SYMBOLS)

    def forward(self, ids, h=None):
        out, h = self.cell(self.embed(ids), h)
        return out, h


def streams(n):
    ids = torch.full((n, LENGTH), SYMBOLS)
    first = torch.randint(SYMBOLS, (n,))
    ids[:, 0] = first
    noise = torch.rand(n, LENGTH) < 0.1
    noise[:, 0] = False
    ids[noise] = torch.randint(SYMBOLS, (int(noise.sum()),))
    return ids, first


def read(model, ids):
    h = None
    for start in range(0, LENGTH, CHUNK):
        _, h = model(ids[:, start : start + CHUNK], h)
        #% if fault
        if start + CHUNK < LENGTH:
            h = h.detach()  #% here
        #% endif
    return model.answer(h[0])


def main():
    torch.manual_seed(85)  #% seed
    model = Memory()
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for it in range(1, 251):
        ids, first = streams(64)
        loss = nn.functional.cross_entropy(read(model, ids), first)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if it % 50 == 0:
            print(f"it {it} loss {loss.item():.4f}")
    with torch.no_grad():
        ids, first = streams(600)
        print(f"recall {(read(model, ids).argmax(1) == first).float().mean().item():.3f}")


main()
