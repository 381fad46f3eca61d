"""Gradients that enter an optimizer's step: of its own parameters, of those that nobody holds, and who has none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine.capture import stats
from aitia.engine.capture.step_reading import GRADIENT, NONFINITE, NORM, PRESENT, ROW, Pairs, Rows, StepReading, putter
from aitia.engine.kernel import AT

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.recorder import Recorder

_GRADIENT: Final = [AT["l2"], AT["absmax"], AT["zero_share"], AT["nonfinite"]]
_GRADIENTS: Final = slice(GRADIENT[0], GRADIENT[-1] + 1)


class Gradients:
    """Fills the first half of a row of the `param` table."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows = Rows()
        self._nobodys: tuple[int, list[ParameterEntry]] | None = None

    def read(self, step: StepReading, optimizer: torch.optim.Optimizer | None) -> None:
        """`optimizer`: the one whose step begins or has ended; None where none steps."""
        step.others = self._others()
        matrix = step.matrix = np.full((len(ROW), len(self._recorder.registry.parameters)), np.nan, np.float32)
        columns, held = step.columns, len(step.pairs)
        gradients = [tensor.grad for tensor in step.tensors] + [tensor.grad for _, tensor in step.others]
        present = [g for g in gradients if g is not None]
        if len(present) < len(gradients):
            there = np.array([g is not None for g in gradients], bool)
            matrix[PRESENT, columns] = there
            columns, held = columns[there], int(np.count_nonzero(there[:held]))
        else:
            matrix[PRESENT, columns] = 1.0
        if present:
            self._read_gradients(step, present, columns, held, getattr(optimizer, "grad_scale", None))
        if optimizer is not None:
            self._elsewhere(step)

    def _others(self) -> Pairs:
        """Parameters in use that no optimizer holds."""
        registry = self._recorder.registry
        if self._nobodys is None or self._nobodys[0] != registry.version:
            unheld = [e for e in registry.parameters if not e.held and e.tied_to is None and not e.retired]
            self._nobodys = (registry.version, unheld)
        return [(e, t) for e in self._nobodys[1] if (t := e.ref()) is not None]

    def _read_gradients(
        self, step: StepReading, gradients: list[Tensor], columns: npt.NDArray[np.intp], held: int, scale: Any
    ) -> None:
        factor = 1.0 / float(scale) if isinstance(scale, Tensor) else 1.0  # fused optimizers unscale inside the step
        step.scaled = factor != 1.0
        rows, unread = self._rows.measure(gradients)
        numbers = rows[:, _GRADIENT]
        if factor != 1.0:
            numbers[:, :2] *= factor
        norms = numbers[:held, 0]
        if unread:
            norms = np.delete(norms, [i for i in unread if i < held])
        square = float(norms @ norms)
        if not math.isfinite(square):  # the largest entry is not finite either
            bad = numbers[:, 3] > 0
            numbers[bad, 1] = numbers[bad, 0]
        step.matrix[_GRADIENTS, columns] = numbers.T
        step.square += square
        step.any = step.any or len(norms) > 0
        distant: list[tuple[int, Tensor]] = []
        for i in unread:
            if gradients[i].is_cpu:
                self._keep(step, int(columns[i]), factor, i < held, stats.describe_gradient(gradients[i]))
            else:
                distant.append((int(columns[i]), gradients[i]))
        if distant:
            self._distant_gradients(step, distant, factor, self._recorder.pace.measuring)

    def _keep(
        self, step: StepReading, index: int, factor: float, held: bool, values: list[float] | Tensor | None
    ) -> None:
        if isinstance(values, Tensor):
            self._recorder.later(values, putter(step, index, factor, held))
        elif values is not None:
            putter(step, index, factor, held)(values)

    def _elsewhere(self, step: StepReading) -> None:
        """Of parameters that another optimizer holds only the presence of a gradient is told."""
        registry = self._recorder.registry
        if len(step.pairs) + len(step.others) == len(registry.parameters):
            return
        for index in np.flatnonzero(np.isnan(step.matrix[PRESENT])):
            entry = registry.parameters[index]
            tensor = entry.ref() if entry.tied_to is None else None
            if tensor is not None:
                step.matrix[PRESENT, index] = float(tensor.grad is not None)

    def _distant_gradients(self, step: StepReading, found: list[tuple[int, Tensor]], factor: float, full: bool) -> None:
        held = {e.index for e, _ in step.pairs}
        if full:
            for index, gradient in found:
                self._keep(step, index, factor, index in held, stats.describe_gradient(gradient))
            return
        plain = [(i, p) for i, g in found if (p := stats.strided(g)) is not None]
        norms = torch._foreach_norm([p for _, p in plain], 2, dtype=torch.float32)

        def put(numbers: list[float]) -> None:
            for (index, _), value in zip(plain, numbers, strict=True):
                norm = value * factor
                step.matrix[NORM, index] = norm
                if math.isfinite(norm):
                    step.matrix[NONFINITE, index] = 0.0
                if index in held:
                    step.square += norm * norm
                    step.any = True

        self._recorder.later(torch.stack(norms), put)
