"""Weights that leave an optimizer's step, and how far it moved them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from aitia.engine.capture import stats
from aitia.engine.capture.copies import Copies
from aitia.engine.capture.step_reading import ROW, Rows, StepReading, spread
from aitia.engine.kernel import AT

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

_WEIGHT: Final = [ROW["weight_norm"], ROW["weight_absmax"], ROW["weight_nonfinite"]]
_UPDATE: Final = [ROW["update_norm"], ROW["update_share"]]
_MOVED: Final = [AT["moved"], AT["changed_share"]]


class Weights:
    """Fills the second half of a row of the `param` table."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows = Rows()
        self._copies = Copies(recorder.level)

    def keep(self, step: StepReading) -> None:
        """Before the step: what they are."""
        step.before = self._copies.take(step.entry, step.tensors)

    def read(self, step: StepReading) -> None:
        """After it: what they have become."""
        before = step.before or []
        tensors, n = step.tensors, len(step.pairs)
        columns, ratios = step.columns[:n], None
        compared = [b if isinstance(b, Tensor) else None for b in before]
        whole = self._copies.every(tensors) == 1
        rows, unread = self._rows.measure(tensors, compared if whole else None)
        numbers = rows[:, [AT["l2"], AT["absmax"], AT["nonfinite"]]]
        bad = numbers[:, 2] > 0
        if bad.any():
            numbers[bad, 1] = numbers[bad, 0]
        step.matrix[_WEIGHT, columns[:, None]] = numbers
        if not whole:
            parts, ratios = self._copies.parts(tensors)
            rows, _ = self._rows.measure(parts, compared)
        moved = rows[:, _MOVED]
        if ratios is not None:
            moved[:, 0] *= ratios
        step.matrix[_UPDATE, columns[:, None]] = moved
        known = np.array([b is not None for b in compared], bool)
        if unread:
            known[unread] = False
        step.updates += float(moved[known, 0] @ moved[known, 0])
        step.weights += float(numbers[known, 0] @ numbers[known, 0])
        for i in unread:
            self._weight_alone(step, int(columns[i]), tensors[i], before[i])

    def _weight_alone(self, step: StepReading, index: int, tensor: Tensor, before: Any) -> None:
        """A parameter that the kernel cannot read."""
        array = stats.host(tensor)
        if array is None:
            self._distant_weight(step, index, tensor, before)
            return
        v = stats.flat(array)
        norm, top, _, bad = stats.gradient_on_host(v)
        step.matrix[_WEIGHT, index] = (norm, top, bad)
        now = spread(v)
        if isinstance(before, np.ndarray) and before.shape == now.shape:
            moved = now - before
            update = stats.norm(moved) * math.sqrt(v.size / max(1, now.size))
            step.took(index, update, np.count_nonzero(moved) / max(1, now.size), norm)

    def _distant_weight(self, step: StepReading, index: int, tensor: Tensor, before: Any) -> None:
        now = stats.strided(tensor)
        if now is None:
            return
        with torch.no_grad():
            now = now.reshape(-1).float()
            thin = spread(now)
            parts = [torch.linalg.vector_norm(now), torch.linalg.vector_norm(now, math.inf), (~now.isfinite()).sum()]
            if isinstance(before, Tensor) and before.shape == thin.shape:
                moved = thin - before.float()
                size = math.sqrt(now.numel() / max(1, thin.numel()))
                parts += [torch.linalg.vector_norm(moved) * size, (moved != 0).float().mean()]
            packed = torch.stack([p.to(torch.float32) for p in parts])

        def put(numbers: list[float]) -> None:
            step.matrix[_WEIGHT, index] = numbers[:3]
            if len(numbers) > 3:
                step.took(index, numbers[3], numbers[4], numbers[0])

        self._recorder.later(packed, put)
