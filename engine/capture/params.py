"""The `param` and `group` tables: gradients that enter a step, weights that leave it, and how far they moved."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aitia.engine import kernel
from aitia.engine.capture import stats
from aitia.engine.capture.copies import Copies
from aitia.engine.capture.coverage import Coverage
from aitia.engine.capture.step_reading import (
    GRADIENT,
    NONFINITE,
    NORM,
    PRESENT,
    ROW,
    Pairs,
    StepReading,
    putter,
    spread,
)
from aitia.engine.kernel import AT, FLAT, WIDTH

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
_GRADIENT: Final = [AT["l2"], AT["absmax"], AT["zero_share"], AT["nonfinite"]]
_GRADIENTS: Final = slice(GRADIENT[0], GRADIENT[-1] + 1)
_WEIGHT: Final = [ROW["weight_norm"], ROW["weight_absmax"], ROW["weight_nonfinite"]]
_UPDATE: Final = [ROW["update_norm"], ROW["update_share"]]
_MOVED: Final = [AT["moved"], AT["changed_share"]]
Matrix = npt.NDArray[np.float64]


class Params:
    """Global optimizer hooks; the gradient is read before the step (after it when a closure made it inside)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.coverage = Coverage(recorder)
        self._copies = Copies(recorder.level)
        self._open: list[StepReading] = []
        self._rows = np.empty((0, WIDTH))
        self._latest: StepReading | None = None
        """The step that ended last."""
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
        step = StepReading(entry, self._pairs(entry, optimizer), closure)
        recorder.tell("before_step", optimizer)
        if not closure:
            self._gradients(step, optimizer)
            step.carried = recorder.backward.before_step(step.entries)
            if not math.isfinite(step.square):
                begins = entry.index in self._round or not recorder.step
                recorder.tell("bad_gradient", optimizer, recorder.step + begins)
        if recorder.pace.measuring:
            step.before = self._copies.take(entry, step.tensors)
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
            step.carried = recorder.backward.before_step(step.entries)
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

    def _others(self) -> Pairs:
        """Parameters in use that no optimizer holds."""
        registry = self._recorder.registry
        if self._nobodys is None or self._nobodys[0] != registry.version:
            unheld = [e for e in registry.parameters if not e.held and e.tied_to is None and not e.retired]
            self._nobodys = (registry.version, unheld)
        return [(e, t) for e in self._nobodys[1] if (t := e.ref()) is not None]

    # ---- measuring ---------------------------------------------------------------------------------------------

    def _measure(self, tensors: list[Tensor], before: list[Any] | None = None) -> tuple[Matrix, list[int]]:
        """A row of statistics of each tensor, until the next call; and which of them only torch can read."""
        n = len(tensors)
        if len(self._rows) < n:
            self._rows = np.empty((n, WIDTH))
        unread = kernel.measure(tensors, self._rows, 0, FLAT, None, None, torch.get_num_threads(), before)
        return self._rows[:n], unread

    def _gradients(self, step: StepReading, optimizer: torch.optim.Optimizer | None) -> None:
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

    def _read_gradients(
        self, step: StepReading, gradients: list[Tensor], columns: npt.NDArray[np.intp], held: int, scale: Any
    ) -> None:
        factor = 1.0 / float(scale) if isinstance(scale, Tensor) else 1.0  # fused optimizers unscale inside the step
        step.scaled = factor != 1.0
        rows, unread = self._measure(gradients)
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

    def _weights(self, step: StepReading) -> None:
        before = step.before or []
        tensors, n = step.tensors, len(step.pairs)
        columns, ratios = step.columns[:n], None
        compared = [b if isinstance(b, Tensor) else None for b in before]
        whole = self._copies.every(tensors) == 1
        rows, unread = self._measure(tensors, compared if whole else None)
        numbers = rows[:, [AT["l2"], AT["absmax"], AT["nonfinite"]]]
        bad = numbers[:, 2] > 0
        if bad.any():
            numbers[bad, 1] = numbers[bad, 0]
        step.matrix[_WEIGHT, columns[:, None]] = numbers
        if not whole:
            parts, ratios = self._copies.parts(tensors)
            rows, _ = self._measure(parts, compared)
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
