"""Attention pooling over a sequence: a weighted average of frames tells which keyword was spoken."""
import torch
from torch import nn
from torch.nn.functional import cross_entropy


class AttentionPool(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, frames):
        """frames: (batch, time, width)"""
        #% if fault
        weight = torch.softmax(self.score(frames), dim=0)  #% here
        #% else
        weight = torch.softmax(self.score(frames), dim=1)
        #% endif
        return (weight * frames).sum(1)


class Spotter(nn.Module):
    def __init__(self, bands=10, width=24, words=6):
        super().__init__()
        self.front = nn.Sequential(nn.Linear(bands, width), nn.ReLU(), nn.Linear(width, width))
        self.pool = AttentionPool(width)
        self.out = nn.Linear(width, words)

    def forward(self, x):
        return self.out(self.pool(self.front(x)))


def utterances(n, templates, gen):
    word = torch.randint(len(templates), (n,), generator=gen)
    x = 1.0 * torch.randn(n, 30, 10, generator=gen)
    start = torch.randint(24, (n,), generator=gen)
    for i in range(n):
        x[i, start[i] : start[i] + 3] += templates[word[i]]
    return x, word


g = torch.Generator().manual_seed(28)  #% seed
torch.manual_seed(28)  #% seed
templates = 1.8 * torch.randn(6, 10, generator=g)
x, word = utterances(1500, templates, g)
x_test, word_test = utterances(200, templates, g)
model = Spotter()
adam = torch.optim.Adam(model.parameters(), lr=4e-3)
for epoch in range(7):
    for idx in torch.randperm(1500).split(50):
        loss = cross_entropy(model(x[idx]), word[idx])
        adam.zero_grad()
        loss.backward()
        adam.step()
    print(f"epoch {epoch} loss {loss.item():.4f}")
model.eval()
with torch.no_grad():
    one_by_one = torch.cat([model(u[None]) for u in x_test]).argmax(1)
print(f"accuracy on single utterances {(one_by_one == word_test).float().mean().item():.3f}")
