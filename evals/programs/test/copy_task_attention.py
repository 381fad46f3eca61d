"""Reverse a short string with one attention block and sinusoidal positions."""
import numpy as np
import torch
from torch import nn

LETTERS, LENGTH, WIDTH = 12, 8, 32


def position_table(length, width):
    pos = np.arange(length)[:, None]
    rate = 1.0 / 1000 ** (np.arange(0, width, 2) / width)
    table = np.zeros((length, width))
    table[:, 0::2] = np.sin(pos * rate)
    table[:, 1::2] = np.cos(pos * rate)
    return table


class Reverser(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(LETTERS, WIDTH)
        #% if fault
        self.register_buffer("pos", torch.from_numpy(position_table(LENGTH, WIDTH)))  #% here
        #% else
        self.register_buffer("pos", torch.from_numpy(position_table(LENGTH, WIDTH)).float())
        #% endif
        self.attend = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, LETTERS)

    def forward(self, ids):
        h = self.embed(ids) + self.pos
        a, _ = self.attend(h, h, h, need_weights=False)
        return self.out(self.norm(h + a))


torch.manual_seed(0)  #% seed
model = Reverser()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(200):
    ids = torch.randint(LETTERS, (64, LENGTH))
    logits = model(ids)
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), ids.flip(1))
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 40 == 39:
        print(f"step {step + 1}: loss {loss.item():.3f}")
