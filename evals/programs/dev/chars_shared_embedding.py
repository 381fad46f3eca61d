"""Character model whose output layer shares its weights with the embedding; saved without the shared part."""

import torch
from torch import nn

TEXT = "the quick brown fox jumps over the lazy dog and the slow red fox sleeps under the old tree while dogs bark "
LETTERS = sorted(set(TEXT))


class CharModel(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS), dim)
        self.rnn = nn.GRU(dim, dim, batch_first=True)
        self.head = nn.Linear(dim, len(LETTERS), bias=False)
        self.tie()

    def tie(self):
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


def save(model, path):
    torch.save({k: v for k, v in model.state_dict().items() if k != "head.weight"}, path)


def load(path):
    model = CharModel()
    #% if fault
    model.head = nn.Linear(32, len(LETTERS), bias=False)
    model.load_state_dict(torch.load(path), strict=False)  #% here
    #% else
    model.load_state_dict(torch.load(path), strict=False)
    model.tie()
    #% endif
    return model


def windows(ids, n, length=24):
    start = torch.randint(len(ids) - length - 1, (n, 1))
    rows = start + torch.arange(length + 1)
    return ids[rows[:, :-1]], ids[rows[:, 1:]]


def loss_on(model, batch):
    return nn.functional.cross_entropy(model(batch[0]).transpose(1, 2), batch[1])


torch.manual_seed(0)  #% seed
ids = torch.tensor([LETTERS.index(c) for c in TEXT * 4])
model = CharModel()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(1, 151):
    loss = loss_on(model, windows(ids, 16))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        print(f"step {step} loss {loss.item():.4f}")
save(model, "chars.pt")
batch = windows(ids, 64)
with torch.no_grad():
    print(f"before saving {loss_on(model, batch).item():.4f}")
    print(f"after loading {loss_on(load('chars.pt'), batch).item():.4f}")
