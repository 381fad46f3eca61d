"""Steps between measured ones: every gradient in one call of the kernel, the loss as it passes by, nothing else.

No hook of ours stands on the modules meanwhile. Rows are gathered in memory and handed to the writer many at a time.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from aitia.engine import kernel
from aitia.engine.capture.step_reading import GRADIENT, PRESENT, ROW
from aitia.engine.capture.steps import JUMP
from aitia.engine.kernel import AT, WIDTH
from aitia.engine.store.schema import NARROW

if TYPE_CHECKING:
    from aitia.engine.capture.optimizers import OptimizerEntry
    from aitia.engine.capture.recorder import Recorder

HELD_SECONDS: Final = 0.2
"""Rows wait no longer for the writer: with its own pause, a killed run has lost less than a second."""
MOST_STEPS: Final = 256
"""Steps whose rows are handed over together; more would save nothing."""
MOST_BYTES: Final = 2_000_000
"""Bytes of measured numbers that wait: of a model of thousands of parameters, those of a few steps."""
KEPT: Final = 200_000
"""Rows after which only every second one is kept, then every fourth …: hours of short steps fill no disk."""
_READ: Final = [AT["l2"], AT["absmax"], AT["zero_share"], AT["nonfinite"]]
_COLUMNS: Final = frozenset(NARROW["step"])
_Row = tuple[int, float, float, float, float, float, dict[str, Any]]
"""step, time, seconds, seconds of ours, learning rate, gradient norm, sums and last values"""


class Quiet:
    """Reads the steps of one optimizer that are passed over."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._entry: OptimizerEntry | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._tensors: list[Tensor] = []
        self._columns = np.empty(0, np.intp)
        self._block = np.empty((0, WIDTH))
        self._rows: list[_Row] = []
        self._norm = math.nan
        """Of the gradients that a step is about to use."""
        self._most = 1
        self._limit = math.inf
        self._until = 0.0
        self._left = 0
        self._read_at = 0.0
        self._ours = 0.0
        self._steps = 0
        self._usual = (0.0, 0.0)
        """Seconds of the program's and of ours in the middle one of the latest steps: medians, as in `pace`."""
        self._kept = 0

    def begin(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer, columns: Any, steps: int) -> bool:
        """The next steps of this optimizer are read here; False where that cannot be."""
        tensors = [p for group in optimizer.param_groups for p in group["params"]]
        if len(columns) != len(tensors) or not tensors or not all(p.is_cpu for p in tensors):
            return False
        self._entry, self._optimizer, self._left, self._columns = entry, optimizer, steps, columns
        self._most = max(1, min(MOST_STEPS, MOST_BYTES // (8 * WIDTH * len(tensors))))
        if len(self._block) < self._most * len(tensors):
            self._block = np.empty((self._most * len(tensors), WIDTH))
        self._tensors = tensors
        self._until = self._recorder.steps.cut + HELD_SECONDS
        self._steps = 0
        self._limit_from(self._recorder.steps.usual)
        return True

    def _limit_from(self, usual: float) -> None:
        self._limit = math.inf if math.isnan(usual) else JUMP * usual

    # ---- one step ----------------------------------------------------------------------------------------------

    def read(self, optimizer: torch.optim.Optimizer) -> bool:
        """Before a step: its gradients; False if they, or the optimizer, are not what they were."""
        start = time.perf_counter()
        if optimizer is not self._optimizer or "n_zero_grad" not in self._recorder.tally:
            return False
        at = len(self._rows) * len(self._tensors)
        norm = self._norm = kernel.gradients(self._tensors, self._block, at, torch.get_num_threads())
        self._read_at = now = time.perf_counter()
        self._ours = now - start
        return norm <= self._limit

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """After it: one more row; and the quiet ends with the last step that was to be passed over."""
        recorder, entry = self._recorder, self._entry
        if entry is None or optimizer is not self._optimizer:
            recorder.wake()
            return
        now = time.perf_counter()
        entry.n_steps += 1
        recorder.session.step = step = recorder.session.step + 1
        tally, ours = recorder.tally, self._ours + recorder.spent
        recorder.tally, recorder.spent = {}, 0.0
        tally["n_backward"], recorder.backward.n_backward = recorder.backward.n_backward, 0
        tally["optimizer_s"] = now - self._read_at
        if recorder.watchful:
            recorder.forward.clear()
            tally["n_forward"], recorder.forward.n_forward = recorder.forward.n_forward, 0
            recorder.safe(recorder.steps.gradient, self._norm)  # who waits for a NaN waits for the next step's
        if recorder.latest:
            tally.update({k: float(v) for k, v in recorder.latest.items()})
            recorder.latest.clear()
        groups = optimizer.param_groups
        rate = groups[0]["lr"] if len(groups) == 1 else max(float(g.get("lr", math.nan)) for g in groups)
        took = now - recorder.steps.cut
        recorder.steps.cut = now
        self._rows.append((step, now, took, ours, float(rate), self._norm, tally))
        self._steps += 1
        if self._steps >= self._left:
            recorder.wake()
            recorder.pace.measuring = True
        elif now > self._until or len(self._rows) >= self._most:
            self.hand_over()
            self._until = now + HELD_SECONDS

    # ---- rows --------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing is passed over any more."""
        recorder = self._recorder
        self.hand_over()
        if self._steps:
            recorder.pace.passed(recorder.session.step, self._steps, *self._usual)
        self._steps = 0
        self._optimizer, self._tensors = None, []

    def hand_over(self) -> None:
        """Give what was gathered to the writer."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        recorder = self._recorder
        middle = np.median([(row[2] - row[3], row[3], row[5]) for row in rows], axis=0).tolist()
        self._usual = (middle[0], middle[1])
        recorder.steps.usual = middle[2]
        self._limit_from(middle[2])
        every = 1 << (self._kept // KEPT)
        kept = [i for i, row in enumerate(rows) if row[0] % every == 0]
        self._kept += len(kept)
        if not kept:
            return
        steps = np.array([rows[i][0] for i in kept], np.int64)
        self._hand_over_steps([rows[i] for i in kept], steps)
        n = len(self._tensors)
        numbers = self._block[: len(rows) * n].reshape(len(rows), n, WIDTH)[kept]
        matrix = np.full((len(kept), len(ROW), len(recorder.registry.parameters)), np.nan, np.float32)
        found = numbers[:, :, _READ]
        bad = found[:, :, 3] > 0
        found[:, :, 1][bad] = found[:, :, 0][bad]
        matrix[:, GRADIENT[0] : GRADIENT[-1] + 1, self._columns] = found.transpose(0, 2, 1)
        matrix[:, PRESENT, self._columns] = numbers[:, :, AT["count"]] >= 0
        recorder.params.write(steps, matrix)

    def _hand_over_steps(self, rows: list[_Row], steps: Any) -> None:
        recorder = self._recorder
        columns = {"step": steps}
        for at, name in enumerate(("time", "step_s", "recorder_s", "lr", "grad_norm"), 1):
            columns[name] = np.array([row[at] for row in rows], float)
        columns["time"] -= recorder.session.started
        tallies = [row[6] for row in rows]
        for name in {name for tally in tallies for name in tally} & _COLUMNS:
            if name != "recorder_s":
                columns[name] = np.array([tally.get(name, math.nan) for tally in tallies], float)
        for name in ("n_zero_grad", "n_clip"):
            columns[name] = np.nan_to_num(columns[name]) if name in columns else np.zeros(len(rows))
        for name in ("carried_grad_norm", "carried_unheld_norm"):
            columns[name] = np.zeros(len(rows))  # every one of these steps began with cleared gradients
        if not columns["n_clip"].any():
            columns["fresh_grad_norm"] = columns["grad_norm"]
        recorder.writer.narrow_rows("step", columns)
