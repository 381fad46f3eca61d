"""Weights as they are before a step, so that it can be told how far the step moved them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine.capture import stats
from aitia.engine.capture.step_reading import spread

if TYPE_CHECKING:
    from aitia.engine.capture.optimizers import OptimizerEntry

BUDGET: Final = 1 << 20
"""Entries of all weights together that are kept below the deepest level: 4 MB; of more, blocks evenly spread."""
BLOCK: Final = 256
"""Entries of a block: 1 KB is read at the memory's speed, and spread blocks show how far the whole moved within 1 %."""


class Copies:
    """Buffers that live from step to step, for fresh memory costs as much as the copying."""

    def __init__(self, level: str) -> None:
        self._exact = level == "deep"
        self._buffers: dict[int, tuple[tuple[int, ...], list[Any]]] = {}

    def every(self, tensors: list[Tensor]) -> int:
        """One block in so many of these weights is copied; 1: all."""
        return 1 if self._exact else max(1, -(-sum(t.numel() for t in tensors) // BUDGET))

    def take(self, entry: OptimizerEntry, tensors: list[Tensor]) -> list[Any]:
        """Copies of these weights, valid until this optimizer's next step; other than plain host tensors each alone."""
        every = self.every(tensors)
        known = self._buffers.get(entry.index)
        key = (every, *entry.held)
        parts = [_part(t, every) if _plain(t) else None for t in tensors]
        if known is None or known[0] != key or not _fits(known[1], parts):
            known = self._buffers[entry.index] = (key, [None if p is None else _like(p) for p in parts])
        pairs = [(b, p) for b, p in zip(known[1], parts, strict=True) if p is not None]
        with torch.no_grad():
            if pairs:
                torch._foreach_copy_([b for b, _ in pairs], [p for _, p in pairs])
            return [_alone(t) if b is None else b for b, t in zip(known[1], tensors, strict=True)]

    def parts(self, tensors: list[Tensor]) -> tuple[list[Tensor], npt.NDArray[np.float64]]:
        """What of these weights is copied, and by how much its norm falls short of the whole's."""
        every = self.every(tensors)
        parts = [_part(t, every) if _plain(t) else t for t in tensors]
        ratios = [math.sqrt(t.numel() / max(1, p.numel())) for t, p in zip(tensors, parts, strict=True)]
        return parts, np.array(ratios)


def _part(tensor: Tensor, every: int) -> Tensor:
    length = BLOCK * every
    if every == 1 or tensor.numel() < 2 * length or not tensor.is_contiguous():
        return tensor
    flat = tensor.detach().view(-1)
    return flat[: flat.numel() // length * length].view(-1, length)[:, :BLOCK]


def _plain(tensor: Tensor) -> bool:
    kind = type(tensor)
    ordinary = kind is torch.nn.Parameter or kind is Tensor
    return ordinary and tensor.is_cpu and tensor.layout is torch.strided and not tensor.is_complex()


def _like(part: Tensor) -> Tensor:
    return torch.empty_like(part.detach(), memory_format=torch.contiguous_format)


def _fits(buffers: list[Any], parts: list[Tensor | None]) -> bool:
    for buffer, part in zip(buffers, parts, strict=True):
        if buffer is None or part is None:
            if buffer is not part:
                return False
        elif buffer.shape != part.shape or buffer.dtype != part.dtype:
            return False
    return True


def _alone(tensor: Tensor) -> Any:
    """A flat copy, thinned out when it is very large."""
    array = stats.host(tensor)
    if array is not None:
        return spread(stats.flat(array)).copy()
    plain = stats.strided(tensor)
    return spread(plain.reshape(-1)).clone() if plain is not None else None
