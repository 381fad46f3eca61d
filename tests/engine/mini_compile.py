"""Mini programs that are compiled, once or again and again."""

from __future__ import annotations

import torch
import torch._dynamo
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from registry import lookalike, mini
from tiny import blobs, mlp
from torch import nn


def _train(sizes: list[int], dynamic: bool | None) -> None:
    torch._dynamo.reset()
    x, y = blobs(720)
    model = mlp()
    compiled: nn.Module = torch.compile(model, backend="eager", dynamic=dynamic)  # type: ignore[assignment]  # a module
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(60):
        start = 24 * step % 480
        rows = slice(start, start + sizes[step % len(sizes)])
        optimizer.zero_grad()
        F.cross_entropy(compiled(x[rows]), y[rows]).backward()
        optimizer.step()


@mini("perf.recompilation")
def every_batch_has_another_size(broken: bool) -> None:
    _train(list(range(16, 40)) if broken else [24], False)


@lookalike("perf.recompilation")
def last_batch_is_smaller() -> None:
    """Two sizes are two compilations."""
    _train([24, 24, 24, 20], None)
