"""Look a value up by its key in a small memory: attention over slots, written out by hand."""

import torch
from torch import nn

SLOTS, DIM, VALUES = 8, 16, 6


def attend(query, keys, values, sharpness):
    score = sharpness * torch.einsum("bd,bsd->bs", query, keys)
    #% if fault
    weight = torch.exp(score)  #% here
    weight = weight / weight.sum(1, keepdim=True)
    #% else
    weight = torch.softmax(score, dim=1)
    #% endif
    return torch.einsum("bs,bsv->bv", weight, values)


class Lookup(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_query = nn.Linear(DIM, DIM)
        self.embed_key = nn.Linear(DIM, DIM)
        self.log_sharpness = nn.Parameter(torch.tensor(0.0))
        self.out = nn.Linear(VALUES, VALUES)

    def forward(self, query, keys, values):
        return self.out(attend(self.embed_query(query), self.embed_key(keys), values, self.log_sharpness.exp()))


def memory(n):
    keys = 2 * torch.randn(n, SLOTS, DIM)
    stored = torch.randint(VALUES, (n, SLOTS))
    asked = torch.randint(SLOTS, (n,))
    query = keys[torch.arange(n), asked] + 0.2 * torch.randn(n, DIM)
    return query, keys, nn.functional.one_hot(stored, VALUES).float(), stored[torch.arange(n), asked]


torch.manual_seed(0)  #% seed
model = Lookup()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
for step in range(1, 301):
    query, keys, values, wanted = memory(64)
    logits = model(query, keys, values)
    loss = nn.functional.cross_entropy(logits, wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 30 == 0:
        accuracy = (logits.argmax(1) == wanted).float().mean().item()
        print(f"step {step} loss {loss.item():.4f} accuracy {accuracy:.3f}")
print(f"final loss {loss.item():.4f}")
