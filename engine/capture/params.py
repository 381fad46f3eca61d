"""The `param` and `group` tables: gradients that enter a step, weights that leave it, and how far they moved."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aitia.engine.capture.coverage import Coverage
from aitia.engine.capture.gradients import Gradients
from aitia.engine.capture.step_reading import Pairs, StepReading
from aitia.engine.capture.weights import Weights

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.optimizers import OptimizerEntry
    from aitia.engine.capture.recorder import Recorder

MAX_WRITTEN: Final = 200_000_000
"""Bytes of rows with gradient norms only; a long run of a large model keeps the fully measured steps from there on."""
ACCUMULATED: Final = 8
"""Backward passes without a step that are nothing unusual: a program may accumulate that many."""
LOOKED_AT: Final = 60
"""Fully measured steps that all compare who holds what with what there is …"""
SELDOM: Final = 16
"""… and from there on every so manyth, unless an optimizer's groups have changed."""


class Params:
    """Global optimizer hooks; the gradient is read before the step (after it when a closure made it inside)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.coverage = Coverage(recorder)
        self._gradients = Gradients(recorder)
        self._weights = Weights(recorder)
        self._open: list[StepReading] = []
        self._latest: StepReading | None = None
        """The step that ended last."""
        self._entries: dict[int, tuple[tuple[int, ...], list[ParameterEntry]]] = {}
        self._handles: list[Any] = []
        self._written = 0
        self._round: set[int] = set()
        """Optimizers that stepped within this step; when one of them steps again, the next step begins."""

    def install(self) -> None:
        """Register the hooks."""
        recorder = self._recorder

        def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if recorder.passing and recorder.safe(recorder.quiet.read, optimizer):
                return
            recorder.wake()
            if not recorder.idle():
                recorder.own(self._before, optimizer, args, kwargs)

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if recorder.passing:
                recorder.safe(recorder.quiet.stepped, optimizer)
            elif not recorder.idle():
                recorder.own(self._after, optimizer)

        self._handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]

    def uninstall(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    # ---- around a step -----------------------------------------------------------------------------------------

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorder = self._recorder
        recorder.forward.clear()
        entry = recorder.registry.optimizer(optimizer)
        if not entry.searched:
            recorder.registry.optimizers.first_step(entry, optimizer)
        measuring = recorder.pace.measuring
        groups = [(id(group["params"]), len(group["params"])) for group in optimizer.param_groups]
        changed = (measuring or groups != entry.groups) and self._membership(entry, optimizer)
        entry.groups = groups
        if entry.n_steps == 0:
            changed |= self._take_in_others(entry)
        if changed or (measuring and (entry.n_steps < LOOKED_AT or not entry.n_steps % SELDOM)):
            self.coverage.look(entry.n_steps == 0)
        closure = callable(kwargs.get("closure")) or any(callable(a) for a in args[1:])
        if closure and not entry.closure:
            entry.closure = True
            recorder.fact("closure", subject=entry.name, data={"index": entry.index})
        step = StepReading(entry, self._pairs(entry, optimizer), closure)
        recorder.tell("before_step", optimizer)
        if not closure:
            self._gradients.read(step, optimizer)
            step.carried = recorder.backward.before_step(step.entries)
            if not math.isfinite(step.square):
                begins = entry.index in self._round or not recorder.step
                recorder.tell("bad_gradient", optimizer, recorder.step + begins)
        if recorder.pace.measuring:
            self._weights.keep(step)
        self._open.append(step)
        step.started = time.perf_counter()

    def _after(self, optimizer: torch.optim.Optimizer) -> None:
        recorder = self._recorder
        took = time.perf_counter()
        while self._open:
            step = self._open.pop()
            if step.entry.ref() is optimizer:
                break
        else:
            return
        recorder.forward.clear()
        entry = step.entry
        recorder.tally["optimizer_s"] = recorder.tally.get("optimizer_s", 0.0) + took - step.started
        recorder.letter(f"S{entry.index}")
        if step.closure:
            self._gradients.read(step, optimizer)
            step.carried = recorder.backward.before_step(step.entries)
        if step.before is not None:
            self._weights.read(step)
        entry.n_steps += 1
        increased = entry.index in self._round or not recorder.step
        if increased:
            self._round = {entry.index}
            recorder.session.step += 1
        else:
            self._round.add(entry.index)
        self._groups(entry, optimizer, recorder.step)
        recorder.tell("after_step", optimizer)
        recorder.resolve()
        self._finish_row(step)
        self._latest = step
        recorder.steps.stepped(entry, increased)
        self._latest = None
        recorder.backward.stepped(step.entries)

    def rest(self) -> bool:
        """Leave the next steps of the optimizer that has just stepped to `quiet`; False where that cannot be."""
        recorder, step = self._recorder, self._latest
        optimizer = step.entry.ref() if step is not None else None
        if step is None or optimizer is None or step.closure or step.carried != (0.0, 0.0) or step.scaled:
            return False
        self._round = {step.entry.index}
        return recorder.quiet.begin(step.entry, optimizer, step.columns[: len(step.pairs)], recorder.pace.passing)

    def write(self, steps: npt.NDArray[np.int64], matrices: npt.NDArray[np.float32]) -> None:
        """Rows with gradients only."""
        if self._written < MAX_WRITTEN:
            self._written += matrices.nbytes
            self._recorder.writer.wide_rows("param", steps, matrices)

    def _take_in_others(self, stepping: OptimizerEntry) -> bool:
        """Take in what optimizers hold that were built and have not stepped: one of them may never do."""
        changed = False
        for entry in list(self._recorder.registry.optimizers.entries):
            optimizer = entry.ref()
            if entry is not stepping and entry.n_steps == 0 and optimizer is not None:
                changed |= self._membership(entry, optimizer)
        return changed

    def _membership(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer) -> bool:
        """Who is in which group; True when it is not as it was."""
        now = tuple([id(p) for group in optimizer.param_groups for p in group["params"]])
        if now == entry.held:
            return False
        registry = self._recorder.registry
        registry.refresh()
        for known in registry.parameters:
            known.held.discard(entry.index)
        for number, group in enumerate(optimizer.param_groups):
            for p in group["params"]:
                parameter = registry.stray(p)
                parameter.held.add(entry.index)
                if min(parameter.held) == entry.index:
                    parameter.group = number
        entry.held = now
        registry.version += 1
        self.coverage.describe_all()
        if entry.n_steps:
            registry.optimizers.describe(entry)
        return True

    def _pairs(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer) -> Pairs:
        known = self._entries.get(entry.index)
        if known is None or known[0] != entry.held:
            registry = self._recorder.registry
            listed = [registry.stray(p) for group in optimizer.param_groups for p in group["params"]]
            known = self._entries[entry.index] = (entry.held, listed)
        tensors = [p for group in optimizer.param_groups for p in group["params"]]
        return list(zip(known[1], tensors, strict=True))

    # ---- rows --------------------------------------------------------------------------------------------------

    def _finish_row(self, step: StepReading) -> None:
        recorder = self._recorder
        if step.before is not None or self._written < MAX_WRITTEN:
            self._written += step.matrix.nbytes
            recorder.writer.wide("param", recorder.step, step.matrix)
        recorder.steps.carried(*step.carried)
        if step.any:
            recorder.steps.gradient(math.sqrt(step.square) if step.square >= 0 else math.nan)
        if step.weights > 0:
            recorder.steps.moved(step.updates, step.weights)

    def _groups(self, entry: OptimizerEntry, optimizer: torch.optim.Optimizer, number: int) -> None:
        for at, group in enumerate(optimizer.param_groups):
            rate = float(group.get("lr", math.nan))
            momentum = group.get("momentum", (group.get("betas") or (math.nan,))[0])
            row = {"step": number, "optimizer": entry.index, "group": at, "lr": rate}
            row["weight_decay"] = float(group.get("weight_decay", math.nan))
            row["momentum"] = float(momentum)
            self._recorder.writer.narrow("group", row)
            self._recorder.steps.rate(rate)

    def without_steps(self, backwards: int) -> None:
        """A program that has not stepped an optimizer: gradients after the 8th, 16th, 32nd … backward."""
        if backwards < ACCUMULATED or backwards & (backwards - 1):
            return
        self.show_gradients()

    def finish(self) -> None:
        """The end of a program that never stepped."""
        if self._recorder.backward.total and not self._recorder.registry.optimizers.stepped:
            self.show_gradients()

    def show_gradients(self) -> None:
        """A row of gradients that no step uses, under step 0."""
        registry = self._recorder.registry
        registry.refresh()
        pairs: Pairs = [(e, t) for e in registry.parameters if e.tied_to is None and (t := e.ref()) is not None]
        step = StepReading(None, pairs, False)
        with np.errstate(all="ignore"):  # an overflow in a statistic is no warning to the user
            self._gradients.read(step, None)
            self._recorder.resolve()
            if pairs:
                self._recorder.writer.wide("param", 0, step.matrix)
            self._recorder.steps.flush_layers()
