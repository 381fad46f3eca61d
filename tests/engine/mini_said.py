"""Mini programs that tell their evaluation in words only: no loss is computed there, the accuracy is printed."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import mini
from tiny import blobs, mlp
from torch import Tensor, nn
from torch.optim import Adam


def _say(epoch: int, model: nn.Module, x: Tensor, y: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        print(f"epoch {epoch} val accuracy {(model(x).argmax(1) == y).float().mean().item():.3f}")
    model.train()


@mini("data.bad_augmentation")
def noise_on_every_sample(broken: bool) -> None:
    x, y = blobs(720, spread=1.5)
    model = mlp()
    optimizer = Adam(model.parameters(), lr=3e-3)
    for epoch in range(8):
        for rows in torch.randperm(600).split(30):
            seen = x[rows] + (4.0 if broken else 0.1) * torch.randn(len(rows), 8)
            loss = F.cross_entropy(model(seen), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _say(epoch, model, x[600:], y[600:])


@mini("graph.ema_not_updated")
def average_bound_to_a_name(broken: bool) -> None:
    """`a = m * a + …` makes a new tensor and leaves the average's own as it was; its statistics follow, though."""
    x, y = blobs(720)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 6))
    average = copy.deepcopy(model)
    optimizer = Adam(model.parameters(), lr=3e-3)
    for epoch in range(8):
        for rows in torch.randperm(600).split(30):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for a, b in zip(average.parameters(), model.parameters(), strict=True):
                    if broken:
                        a = 0.95 * a + 0.05 * b
                    else:
                        a.mul_(0.95).add_(b, alpha=0.05)
                for a, b in zip(average.buffers(), model.buffers(), strict=True):
                    a.copy_(b)
        _say(epoch, average, x[600:], y[600:])


class _Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(40, 16), nn.Linear(16, 2)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.out(self.words(ids).mean(1))
        return out


@mini("eval.preprocessing_mismatch")
def words_spelled_otherwise(broken: bool) -> None:
    """The words that decide are unknown (0) in the spelling that evaluation meets them in."""
    ids = torch.randint(11, 40, (900, 8))
    y = torch.randint(0, 2, (900,))
    for place in (2, 5):
        ids[:, place] = 1 + 5 * y + torch.randint(0, 5, (900,))
    held_out = ids[700:].clone()
    if broken:
        held_out[held_out < 11] = 0
    model = _Bag()
    optimizer = Adam(model.parameters(), lr=1e-2)
    for epoch in range(6):
        for rows in torch.randperm(700).split(35):
            loss = F.cross_entropy(model(ids[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _say(epoch, model, held_out, y[700:])
