"""The `param` and `group` tables: gradients that enter a step, weights that leave it, and how far they moved."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aitia.engine.capture import stats
from aitia.engine.capture.coverage import Coverage
from aitia.engine.capture.step_reading import (
    GRADIENT,
    NONFINITE,
    NORM,
    PRESENT,
    ROW,
    Pairs,
    StepReading,
    copied,
    putter,
    spread,
)

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.optimizers import OptimizerEntry
    from aitia.engine.capture.recorder import Recorder

MAX_WRITTEN: Final = 200_000_000
"""Bytes of rows with gradient norms only; a long run of a large model keeps the fully measured steps from there on."""
ACCUMULATED: Final = 8
"""Backward passes without a step that are nothing unusual: a program may accumulate that many."""
_WEIGHT: Final = (ROW["weight_norm"], ROW["weight_absmax"], ROW["weight_nonfinite"])


class Params:
    """Global optimizer hooks; the gradient is read before the step (after it when a closure made it inside)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.coverage = Coverage(recorder)
        self._open: list[StepReading] = []
        self._entries: dict[int, tuple[tuple[int, ...], list[ParameterEntry]]] = {}
        self._handles: list[Any] = []
        self._written = 0
        self._nobodys: tuple[int, list[ParameterEntry]] | None = None
        self._round: set[int] = set()
        """Optimizers that stepped within this step; when one of them steps again, the next step begins."""

    def install(self) -> None:
        """Register the hooks."""
        recorder = self._recorder

        def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if not recorder.idle():
                recorder.own(self._before, optimizer, args, kwargs)

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if not recorder.idle():
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
        recorder.registry.optimizers.first_step(entry, optimizer)
        changed = self._membership(entry, optimizer)
        if entry.n_steps == 0:
            changed |= self._take_in_others(entry)
        if changed or entry.n_steps == 0 or recorder.pace.measuring:
            self.coverage.look(entry.n_steps == 0)
        closure = callable(kwargs.get("closure")) or any(callable(a) for a in args[1:])
        step = StepReading(entry, self._pairs(entry, optimizer), closure)
        recorder.tell("before_step", optimizer)
        if not closure:
            self._gradients(step, optimizer)
            step.carried = recorder.backward.before_step([e for e, _ in step.pairs + step.others])
            if not math.isfinite(step.square):
                begins = entry.index in self._round or not recorder.step
                recorder.tell("bad_gradient", optimizer, recorder.step + begins)
        if recorder.pace.measuring:
            step.before = [copied(t) for _, t in step.pairs]
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
            self._gradients(step, optimizer)
            step.carried = recorder.backward.before_step([e for e, _ in step.pairs + step.others])
        if step.before is not None:
            self._weights(step)
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
        recorder.steps.stepped(entry, increased)
        recorder.backward.stepped([e for e, _ in step.pairs] + [e for e, _ in step.others])

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

    def _others(self) -> Pairs:
        """Parameters in use that no optimizer holds."""
        registry = self._recorder.registry
        if self._nobodys is None or self._nobodys[0] != registry.version:
            unheld = [e for e in registry.parameters if not e.held and e.tied_to is None and not e.retired]
            self._nobodys = (registry.version, unheld)
        return [(e, t) for e in self._nobodys[1] if (t := e.ref()) is not None]

    # ---- measuring ---------------------------------------------------------------------------------------------

    def _gradients(self, step: StepReading, optimizer: torch.optim.Optimizer | None) -> None:
        step.others = self._others()
        matrix = step.matrix = np.full((len(ROW), len(self._recorder.registry.parameters)), np.nan, np.float32)
        full = self._recorder.pace.measuring
        scale = getattr(optimizer, "grad_scale", None)  # fused optimizers unscale inside the step
        factor = 1.0 / float(scale) if isinstance(scale, Tensor) else 1.0
        distant: list[tuple[int, Tensor]] = []
        for at, (entry, tensor) in enumerate(step.pairs + step.others):
            gradient = tensor.grad
            if gradient is None:
                matrix[PRESENT, entry.index] = 0.0
                continue
            matrix[PRESENT, entry.index] = 1.0
            array = stats.host(gradient)
            if array is None:
                distant.append((entry.index, gradient))
                continue
            v = stats.flat(array)
            if full:
                values = stats.gradient_on_host(v)
                matrix[GRADIENT, entry.index] = values
                matrix[GRADIENT[:2], entry.index] *= factor
                norm = values[0] * factor
            else:
                square = stats.sum_of_squares(v) if v.size else 0.0
                norm = (math.sqrt(square) if square >= 0 else square) * factor
                matrix[NORM, entry.index] = norm
                if math.isfinite(norm):
                    matrix[NONFINITE, entry.index] = 0.0
            if at < len(step.pairs):
                step.square += norm * norm
                step.any = True
        if distant:
            self._distant_gradients(step, distant, factor, full)
        if optimizer is not None:
            self._elsewhere(step)

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
                values = stats.describe_gradient(gradient)
                if isinstance(values, Tensor):
                    self._recorder.later(values, putter(step, index, factor, index in held))
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

    def _weights(self, step: StepReading) -> None:
        for (entry, tensor), before in zip(step.pairs, step.before or (), strict=False):
            array = stats.host(tensor)
            if array is None:
                self._distant_weight(step, entry.index, tensor, before)
                continue
            v = stats.flat(array)
            norm, top, _, bad = stats.gradient_on_host(v)
            step.matrix[_WEIGHT, entry.index] = (norm, top, bad)
            now = spread(v)
            if before is None or before.shape != now.shape:
                continue
            with np.errstate(invalid="ignore", over="ignore"):  # weights may be infinite; that is told, not warned of
                moved = now - before
            update = stats.norm(moved) * math.sqrt(v.size / max(1, now.size))
            step.took(entry.index, update, np.count_nonzero(moved) / max(1, now.size), norm)

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
            self._gradients(step, None)
        self._recorder.resolve()
        if pairs:
            self._recorder.writer.wide("param", 0, step.matrix)
        self._recorder.steps.flush_layers()
