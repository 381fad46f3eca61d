"""Recall the symbol seen six steps ago in an endless stream, with truncated backpropagation through time."""

import torch
from torch import nn

SYMBOLS, DELAY, WINDOW, BATCH = 5, 6, 12, 32


class Recaller(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.hidden = hidden
        self.cell = nn.GRUCell(SYMBOLS, hidden)
        self.read = nn.Linear(hidden, SYMBOLS)

    def forward(self, window, h):
        losses, hits = [], 0
        for t in range(DELAY, len(window)):
            h = self.cell(nn.functional.one_hot(window[t], SYMBOLS).float(), h)
            #% if fault
            h = h.detach()  #% here
            #% endif
            logits = self.read(h)
            losses.append(nn.functional.cross_entropy(logits, window[t - DELAY]))
            hits += (logits.argmax(-1) == window[t - DELAY]).float().mean().item()
        return torch.stack(losses).mean(), hits / len(losses), h


def main():
    torch.manual_seed(0)  #% seed
    model = Recaller()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    stream = torch.randint(SYMBOLS, (DELAY, BATCH))
    state = torch.zeros(BATCH, model.hidden)
    average = 0.0
    for step in range(1, 401):
        stream = torch.cat([stream[-DELAY:], torch.randint(SYMBOLS, (WINDOW, BATCH))])
        loss, accuracy, state = model(stream, state.detach())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = 0.9 * average + 0.1 * accuracy
        if step % 40 == 0:
            print(f"step {step} loss {loss.item():.3f} accuracy {average:.3f}")


main()
