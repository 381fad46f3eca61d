"""Small data, models and loops that mini programs are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Loss = Callable[[Tensor, Tensor], Tensor]


def blobs(n: int = 480, classes: int = 6, dim: int = 8, spread: float = 0.6) -> tuple[Tensor, Tensor]:
    """Gaussian clusters, one for each class."""
    generator = torch.Generator().manual_seed(1)
    centers = 1.5 * torch.randn(classes, dim, generator=generator)
    y = torch.arange(n) % classes
    x = centers[y] + spread * torch.randn(n, dim, generator=generator)
    order = torch.randperm(n, generator=generator)
    return x[order], y[order]


def line(n: int = 480, dim: int = 6) -> tuple[Tensor, Tensor]:
    """A regression with targets of shape [n], mean about 0 and spread about 1."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, dim, generator=generator)
    y = 0.7 * x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + 0.3 * x[:, 3]
    return x, y + 0.05 * torch.randn(n, generator=generator)


def mlp(dim: int = 8, out: int = 6, width: int = 32) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, out))


def batches(*tensors: Tensor, size: int = 24, shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    """A loader over tensors."""
    return DataLoader(TensorDataset(*tensors), batch_size=size, shuffle=shuffle)


def train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    loss_of: Loss,
    *,
    epochs: int = 4,
    rate: float = 1e-2,
    held_out: tuple[Tensor, Tensor] | None = None,
) -> None:
    """The plain loop: Adam, an evaluation after every epoch where there is something to evaluate on."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    loader = batches(*data)
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
        if held_out is not None:
            evaluate(model, held_out, loss_of)


def evaluate(model: nn.Module, data: tuple[Tensor, Tensor], loss_of: Loss) -> float:
    """Mean loss in evaluation mode, over batches."""
    model.eval()
    with torch.no_grad():
        values = [loss_of(model(x), y).item() for x, y in batches(*data, size=60, shuffle=False)]
    return sum(values) / len(values)
