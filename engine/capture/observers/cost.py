"""What an optimizer's step costs, against what the same step costs in torch's own grouped implementation."""

from __future__ import annotations

import time
from collections import deque
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.observers.base import Observer

NOTICED: Final = 1e-3
"""Seconds of a step below which nobody would win anything."""
MAX_NUMBERS: Final = 20_000_000
MAX_TENSORS: Final = 2000
REPEATS: Final = 3


class Watch(Observer):
    """Keeps the seconds of the last steps and the shapes that they moved; the comparison comes after the training."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._seconds: deque[float] = deque(maxlen=50)
        self._shapes: dict[int, list[torch.Size]] = {}

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._seconds.append(float(self.recorder.tally.get("optimizer_s", 0.0)))
        index = self.recorder.optimizer_index(optimizer)
        if index not in self._shapes:
            self._shapes[index] = [p.shape for g in optimizer.param_groups for p in g["params"]]

    def finish(self) -> None:
        shapes = [s for held in self._shapes.values() for s in held]
        numbers = sum(s.numel() for s in shapes)
        if len(self._seconds) < 5 or len(shapes) > MAX_TENSORS or not 0 < numbers <= MAX_NUMBERS:
            return
        took = median(self._seconds)
        if took < NOTICED or len(self._shapes) > 1:
            return
        data = {"step_s": took, "reference_s": _reference(shapes), "n_tensors": len(shapes), "n_numbers": numbers}
        self.recorder.fact("optimizer_cost", data=data)


def _reference(shapes: list[torch.Size]) -> float:
    """Seconds of one grouped Adam step on tensors of these shapes, the best of a few."""
    tensors: list[Tensor] = [torch.zeros(s, requires_grad=True) for s in shapes]
    for t in tensors:
        t.grad = torch.zeros_like(t)
    optimizer = torch.optim.Adam(tensors, foreach=True)
    best = float("inf")
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        optimizer.step()
        best = min(best, time.perf_counter() - start)
    return best
