"""Next note of simple melodies with a small causal transformer."""
import torch
from torch import nn

NOTES, LENGTH = 10, 14


class Melody(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.note = nn.Embedding(NOTES, width)
        self.place = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, NOTES)
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))

    def forward(self, ids):
        t = ids.shape[1]
        h = self.note(ids) + self.place(torch.arange(t))
        return self.out(self.body(h, mask=self.mask[:t, :t]))


def melodies(n):
    start, stride = torch.randint(NOTES, (n, 1)), torch.randint(1, 4, (n, 1))
    return (start + stride * torch.arange(LENGTH + 1)) % NOTES


#% if fault
LR = 0.1  #% here
#% else
LR = 2e-3
#% endif
torch.manual_seed(135)  #% seed
model = Melody()
opt = torch.optim.AdamW(model.parameters(), lr=LR)
for step in range(1, 151):
    seq = melodies(32)
    loss = nn.functional.cross_entropy(model(seq[:, :-1]).flatten(0, 1), seq[:, 1:].flatten())
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 25 == 0:
        print(f"step {step} loss {loss.item():.4f}")
