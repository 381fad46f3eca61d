"""Rows of the `step` and `layer` tables: gathered over a step, written when it is over."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from aitia.engine.store.schema import NARROW

if TYPE_CHECKING:
    from aitia.engine.capture.layers import Matrix
    from aitia.engine.capture.optimizers import OptimizerEntry
    from aitia.engine.capture.recorder import Recorder

_COLUMNS: Final = frozenset(NARROW["step"])
_SUMMED: Final = frozenset(
    {"loss", "n_backward", "n_forward", "n_zero_grad", "n_clip", "data_s", "forward_s", "backward_s", "optimizer_s"}
    | {"eval_s", "recorder_s", "step_s", "syncs"}
)
_ROOT_SUMMED: Final = frozenset({"grad_norm", "fresh_grad_norm", "carried_grad_norm", "carried_unheld_norm"})
"""Norms over disjoint parameters: their squares add up."""
JUMP: Final = 10.0
"""A gradient norm this many times the running mean is worth a close look at the next steps."""


class Steps:
    """Gathers what happened up to an optimizer's step; with several optimizers a row holds the steps of all of them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._row: dict[str, Any] | None = None
        self._layers: Matrix | None = None
        self.cut = time.perf_counter()
        """When the last step ended."""
        self._gradient = math.nan
        self._rate = math.nan
        self._updates = 0.0
        self._weights = 0.0
        self._held = 0.0
        self._unheld = 0.0
        self.usual = math.nan
        """Running mean of the gradients' norm."""
        self._device = torch.cuda.is_available()

    def start(self) -> None:
        """The first forward begins: what was before it is no step."""
        self.cut = time.perf_counter()
        self._recorder.spent = 0.0

    def begin_anew(self, counted: bool) -> None:
        """Steps were passed over; of the one that goes on now, if one does, the order of calls is not known."""
        recorder = self._recorder
        within = bool(recorder.tally or recorder.backward.n_backward)
        recorder.signature.forget(within)
        if not counted:
            recorder.forward.n_forward = math.nan if within else 0
        self._gradient = math.nan
        recorder.spent = 0.0

    def gradient(self, norm: float) -> None:
        """Global gradient norm of the step that just ended."""
        self._gradient = norm

    def carried(self, held: float, unheld: float) -> None:
        """Squared norms of an earlier step's gradients within those that the step used."""
        self._held += held
        self._unheld += unheld

    def rate(self, lr: float) -> None:
        """A group's learning rate."""
        if not lr <= self._rate:
            self._rate = lr

    def moved(self, updates: float, weights: float) -> None:
        """Sums of squares of the updates and of the weights."""
        self._updates += updates
        self._weights += weights

    def stepped(self, entry: OptimizerEntry, increased: bool) -> None:
        """An optimizer's step is over and all its numbers are there."""
        recorder = self._recorder
        if increased:
            self.flush()
            recorder.signature.cut()
        row = self._gather()
        if self._row is None:
            self._row = {"step": recorder.step, **row}
        else:
            self._merge(row)
        recorder.backward.next_step()
        recorder.forward.n_forward = 0
        alive = sum(1 for e in recorder.registry.optimizers.entries if e.ref() is not None)
        if increased:
            recorder.pace.step(recorder.step, row["step_s"], row["recorder_s"])
        if alive <= 1:
            self.flush()
            if recorder.pace.passing and row["n_zero_grad"] and not row["carried_grad_norm"]:
                recorder.pass_over()

    def _gather(self) -> dict[str, Any]:
        recorder = self._recorder
        now = time.perf_counter()
        row: dict[str, Any] = {"time": recorder.seconds(), "lr": self._rate, "grad_norm": self._gradient}
        row |= {"n_backward": recorder.backward.n_backward, "n_forward": recorder.forward.n_forward}
        row |= {"n_zero_grad": 0, "n_clip": 0}
        for name, value in recorder.latest.items():
            if name in _COLUMNS:
                row[name] = float(value) if not isinstance(value, Tensor) else value.item()
        for name, value in recorder.tally.items():
            if name in _COLUMNS:
                row[name] = value
        recorder.tally.clear()
        recorder.latest.clear()
        row["carried_grad_norm"], row["carried_unheld_norm"] = math.sqrt(self._held), math.sqrt(self._unheld)
        if not self._held:
            row["fresh_grad_norm"] = self._fresh(row)
        if self._device:
            row["device_bytes"] = torch.cuda.memory_allocated()
        if self._weights > 0:
            row["update_ratio"] = math.sqrt(self._updates / self._weights)
        row["step_s"] = now - self.cut
        row["recorder_s"] = recorder.spent + row.get("recorder_s", 0.0)
        recorder.spent = 0.0
        self.cut = now
        self._alert(self._gradient)
        self._gradient = self._rate = math.nan
        self._updates = self._weights = self._held = self._unheld = 0.0
        self._gather_layers()
        return row

    def _fresh(self, row: dict[str, Any]) -> float:
        """What was added is all there is: the norm before clipping where the program clipped, else at the step."""
        clipped = row.get("clip_norm", math.nan)
        if row["n_clip"] and not math.isnan(clipped):
            return float(clipped) if math.isnan(row.get("loss_scale", math.nan)) else math.nan
        return float(row["grad_norm"])

    def _gather_layers(self) -> None:
        matrix = self._recorder.layers.row()
        if matrix is None:
            return
        old = self._layers
        if old is not None:
            known = np.isnan(matrix[:, : old.shape[1]])
            matrix[:, : old.shape[1]][known] = old[known]
        self._layers = matrix

    def _merge(self, row: dict[str, Any]) -> None:
        own = self._row
        if own is None:
            return
        for name, value in row.items():
            before = own.get(name, math.nan)
            if math.isnan(before):
                own[name] = value
            elif math.isnan(value):
                continue
            elif name in _SUMMED:
                own[name] = before + value
            elif name in _ROOT_SUMMED:
                own[name] = math.hypot(before, value)
            elif name in {"lr", "update_ratio"}:
                own[name] = max(before, value)
            else:
                own[name] = value

    def _alert(self, norm: float) -> None:
        if math.isnan(norm) or norm > JUMP * self.usual or math.isinf(norm):
            if not (math.isnan(norm) and math.isnan(self.usual)):
                self._recorder.pace.alert()
        else:
            self.usual = norm if math.isnan(self.usual) else 0.9 * self.usual + 0.1 * norm

    def flush(self) -> None:
        """Write the row that is open."""
        row, self._row = self._row, None
        matrix, self._layers = self._layers, None
        if row is not None:
            self._recorder.writer.narrow("step", row)
        if matrix is not None:
            self._recorder.writer.wide("layer", int(row["step"]) if row is not None else self._recorder.step, matrix)

    def flush_layers(self) -> None:
        """A program without steps: write what its forwards showed."""
        self._gather_layers()
        self.flush()

    def finish(self) -> None:
        """The end of the run: the open row, then what came after the last step."""
        recorder = self._recorder
        self.flush()
        unfinished = recorder.backward.n_backward > 0
        self._gather_layers()
        if recorder.step and unfinished:
            row = self._gather()
            self._row = {"step": recorder.step + 1, **row}
        self.flush()
