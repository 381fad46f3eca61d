"""One optimizer step while it is read: the row of the `param` table that it fills, and sums over its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aitia.engine import kernel
from aitia.engine.kernel import FLAT, WIDTH
from aitia.engine.store.schema import WIDE

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.optimizers import OptimizerEntry

ROW: Final = {name: i for i, name in enumerate(WIDE["param"])}
GRADIENT: Final = (ROW["grad_norm"], ROW["grad_absmax"], ROW["grad_zero_share"], ROW["grad_nonfinite"])
PRESENT, NORM, NONFINITE = ROW["grad_present"], ROW["grad_norm"], ROW["grad_nonfinite"]
MAX_COPIED: Final = 1 << 22
"""Entries of one parameter that are copied to see how it moves: 16 MB; of a larger one an even part is."""
Pairs = list[tuple["ParameterEntry", Tensor]]
Matrix = npt.NDArray[np.float32]


class StepReading:
    """One optimizer step while it is measured."""

    def __init__(self, entry: Any, pairs: Pairs, closure: bool) -> None:
        self.entry: OptimizerEntry = entry
        self.pairs = pairs
        self.tensors = [tensor for _, tensor in pairs]
        self.others: Pairs = []
        self.closure = closure
        self.before: list[Any] | None = None
        self.matrix: Matrix = np.empty((len(ROW), 0), np.float32)
        self.square = 0.0
        self.any = False
        self.updates = 0.0
        self.weights = 0.0
        self.started = 0.0
        self.carried = (0.0, 0.0)
        self.scaled = False
        """Whether the gradients that it was given are still multiplied by a loss scale."""

    @property
    def entries(self) -> list[ParameterEntry]:
        """All parameters that are read: held ones, then those that nobody holds."""
        return [entry for entry, _ in self.pairs + self.others]

    @property
    def columns(self) -> npt.NDArray[np.intp]:
        """Their columns in the table."""
        return np.array([entry.index for entry, _ in self.pairs + self.others], np.intp)

    def took(self, index: int, update: float, share: float, weight: float) -> None:
        """A parameter moved by `update`."""
        self.matrix[ROW["update_norm"], index] = update
        self.matrix[ROW["update_share"], index] = share
        self.updates += update * update
        self.weights += weight * weight


class Rows:
    """Rows of the kernel's, in memory that is used again."""

    def __init__(self) -> None:
        self._rows = np.empty((0, WIDTH))

    def measure(
        self, tensors: list[Tensor], before: list[Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], list[int]]:
        """A row of statistics of each tensor, until the next call; and which of them only torch can read."""
        n = len(tensors)
        if len(self._rows) < n:
            self._rows = np.empty((n, WIDTH))
        unread = kernel.measure(tensors, self._rows, 0, FLAT, None, None, torch.get_num_threads(), before)
        return self._rows[:n], unread


def putter(step: StepReading, index: int, factor: float, held: bool) -> Callable[[list[float]], None]:
    def put(numbers: list[float]) -> None:
        step.matrix[GRADIENT, index] = [numbers[0] * factor, numbers[1] * factor, *numbers[2:]]
        if held:
            step.square += (numbers[0] * factor) ** 2
            step.any = True

    return put


def spread(flat: Any) -> Any:
    """A flat array or tensor, thinned out evenly when it is very large."""
    n = flat.size if isinstance(flat, np.ndarray) else flat.numel()
    return flat if n <= MAX_COPIED else flat[:: -(-n // MAX_COPIED)]
