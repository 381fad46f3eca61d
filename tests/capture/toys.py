"""A small network, its data, and how a recording of it is read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from aitia.engine.store.reader import Run


def data(n: int = 32, width: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, width, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def fit(model: nn.Module, x: Tensor, y: Tensor, steps: int = 3) -> None:
    """A few ordinary steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def last_signature(run: Run) -> str:
    counts = run.fact("signature_counts").data
    return max(counts, key=lambda k: counts[k])
