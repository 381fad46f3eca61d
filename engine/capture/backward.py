"""Backward passes: their roots, their time, and gradients of an earlier step that they add to."""

from __future__ import annotations

import functools
import math
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aitia.engine.capture import stats

if TYPE_CHECKING:
    from aitia.engine.capture.entries import ParameterEntry
    from aitia.engine.capture.recorder import Recorder

MOST_STEPS: Final = 64
"""Steps in a row whose parameters are kept in a list before it is cut to those that differ."""


class Backward:
    """Wraps `torch.autograd.backward` (which `Tensor.backward` goes through) and `torch.autograd.grad`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.scale = 1.0
        """Factor by which the gradients that flow now are scaled."""
        self.total = 0
        self.n_backward = 0
        """Calls since the last step."""
        self._used: dict[int, ParameterEntry] = {}
        """Parameters whose gradient has been used by a step and may still be there …"""
        self._just_used: list[ParameterEntry] = []
        """… of the latest steps, not looked at since."""
        self._kept: dict[int, Any] = {}
        """Copies of such gradients, so that what this step adds can be told apart (fully measured steps only)."""
        self._no_copies = False
        self._mixed: dict[int, tuple[weakref.ref[Tensor], float]] = {}
        """Gradients of an earlier step that a backward added to: harmless if they are cleared before they are used."""
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Put the wrappers in place."""
        recorder, original, original_grad = self._recorder, torch.autograd.backward, torch.autograd.grad

        @functools.wraps(original)
        def backward(*args: Any, **kwargs: Any) -> Any:
            if recorder.passing:
                if args and self._passes(args[0]):
                    return original(*args, **kwargs)
                recorder.wake()
            if recorder.in_backward or recorder.idle():
                return original(*args, **kwargs)
            call = recorder.quick(self._begin, args, kwargs)
            recorder.in_backward = True
            start = time.perf_counter()
            try:
                result = original(*args, **kwargs)
            finally:
                recorder.in_backward = False
                took = time.perf_counter() - start
            if call is not None:
                recorder.quick(self._end, call, took)
            return result

        @functools.wraps(original_grad)
        def grad(*args: Any, **kwargs: Any) -> Any:
            if recorder.in_backward or recorder.idle():
                return original_grad(*args, **kwargs)
            recorder.safe(recorder.letter, "A")
            recorder.in_backward = True
            try:
                return original_grad(*args, **kwargs)
            finally:
                recorder.in_backward = False

        torch.autograd.backward, torch.autograd.grad = backward, grad

        def undo() -> None:
            if torch.autograd.backward is backward:
                torch.autograd.backward = original
            if torch.autograd.grad is grad:
                torch.autograd.grad = original_grad

        self._undo.append(undo)

    def uninstall(self) -> None:
        """Restore."""
        while self._undo:
            self._undo.pop()()

    # ---- one call ----------------------------------------------------------------------------------------------

    def _passes(self, root: Any) -> bool:
        """In a step that is passed over: its loss, if nothing is the matter with it as far as one look can tell."""
        value = math.nan
        if isinstance(root, Tensor) and root.is_cpu and root.numel() == 1:
            value = root.item()
            if not math.isfinite(value):
                return False
        recorder = self._recorder
        if recorder.latest:
            value /= float(recorder.latest.get("loss_scale", 1.0))
        recorder.tally["loss"] = recorder.tally.get("loss", 0.0) + value
        self.n_backward += 1
        self.total += 1
        if recorder.watchful and isinstance(root, Tensor):
            recorder.quick(self._watch, root)
        return True

    def _watch(self, root: Tensor) -> None:
        self._recorder.forward.clear()
        self._recorder.watch("before_backward", root, self._recorder.site_of(root))

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call | None:
        recorder = self._recorder
        recorder.forward.clear()
        given = args[0] if args else kwargs.get("tensors")
        roots = [given] if isinstance(given, Tensor) else [t for t in given or () if isinstance(t, Tensor)]
        if not roots:
            return None
        recorder.registry.ensure_named()
        retained = bool(_argument(args, kwargs, 2, "retain_graph") or _argument(args, kwargs, 3, "create_graph"))
        site = recorder.safe(recorder.site_of, roots[0])
        scale = recorder.safe(recorder.scale_of, roots[0])
        call = _Call(roots, -1 if site is None else site, scale or 1.0, retained)
        self.scale = call.scale
        recorder.letter("B")
        recorder.tell("before_backward", roots[0], call.site)
        self._look_at_used(call)
        return call

    def _end(self, call: _Call, took: float) -> None:
        recorder = self._recorder
        self.total += 1
        self.n_backward += 1
        recorder.tally["backward_s"] = recorder.tally.get("backward_s", 0.0) + took
        carried = self._what_was_added_to(call) if call.waiting else 0.0
        row: dict[str, float | int] = {
            "step": recorder.step + 1,
            "time": recorder.seconds(),
            "site": call.site,
            "retain_graph": float(call.retained),
            "carried": float(carried > 0),
        }
        self._tell_loss(call, row)
        if self._mixed and not self._no_copies:
            self._measure_fresh()
        recorder.tell("after_backward", call.roots[0], call.site)
        call.roots = []
        if not recorder.registry.optimizers.stepped:
            recorder.params.without_steps(self.total)

    def _tell_loss(self, call: _Call, row: dict[str, float | int]) -> None:
        recorder, scale = self._recorder, call.scale
        root = call.roots[0]
        if not stats.readable(root) or root.is_complex():
            recorder.writer.narrow("backward", row)
            return

        def tell(numbers: list[float]) -> None:
            loss = numbers[0] / scale
            row["loss"] = loss
            recorder.tally["loss"] = recorder.tally.get("loss", 0.0) + loss
            recorder.writer.narrow("backward", row)
            if not math.isfinite(loss):
                recorder.pace.alert()

        if root.is_cpu:
            roots = call.roots
            tell([root.item() if len(roots) == 1 and root.dim() == 0 else sum(map(_mean, roots))])
        else:
            recorder.later(torch.stack([r.detach().float().mean() for r in call.roots]).sum(), tell)

    # ---- gradients of an earlier step --------------------------------------------------------------------------

    def before_step(self, entries: list[ParameterEntry]) -> tuple[float, float]:
        """Squared norms of earlier gradients inside what this step uses: of held parameters, of those nobody holds."""
        held = unheld = 0.0
        if self._mixed:
            for entry in entries:
                mixed = self._mixed.pop(entry.index, None)
                if mixed is None or not self._still_there(entry, mixed[0]):
                    continue
                if entry.held:
                    held += mixed[1]
                else:
                    unheld += mixed[1]
        return held, unheld

    def stepped(self, entries: list[ParameterEntry]) -> None:
        """These parameters' gradients have been used by a step (or nobody will)."""
        self._just_used += entries
        if len(self._just_used) > MOST_STEPS * len(entries):  # a program that steps and never calls backward
            self._just_used = list({e.index: e for e in self._just_used}.values())
        self._kept.clear()
        self._no_copies = False

    def next_step(self) -> None:
        """A step row was cut."""
        self.n_backward = 0

    def _still_there(self, entry: ParameterEntry, gradient: weakref.ref[Tensor]) -> bool:
        """Whether a gradient was neither removed nor zeroed since."""
        tensor = entry.ref()
        now = tensor.grad if tensor is not None else None
        return now is not None and gradient() is now and _square(now) != 0

    def _look_at_used(self, call: _Call) -> None:
        if self._mixed:
            for index, (mixed, _) in list(self._mixed.items()):
                if not self._still_there(self._recorder.registry.parameters[index], mixed):
                    del self._mixed[index]
        just_used, self._just_used = self._just_used, []
        for entry in just_used:  # most programs have removed these gradients by now
            tensor = entry.ref()
            if tensor is not None and tensor.grad is not None:
                self._used[entry.index] = entry
        if not self._used:
            return
        measuring = self._recorder.pace.measuring
        for index, entry in list(self._used.items()):
            tensor = entry.ref()
            gradient = tensor.grad if tensor is not None else None
            square = _square(gradient) if gradient is not None else 0.0
            if gradient is None or square == 0:
                del self._used[index]
                continue
            call.waiting.append((entry, gradient, gradient._version, square))
            if measuring and gradient.layout is torch.strided:
                self._kept[index] = gradient.detach().clone()
            else:
                self._no_copies = True

    def _what_was_added_to(self, call: _Call) -> float:
        """Squared norm of the earlier gradients that this call added to."""
        total = 0.0
        for entry, gradient, version, square in call.waiting:
            tensor = entry.ref()
            now = tensor.grad if tensor is not None else None
            if now is None or (now is gradient and now._version == version):
                self._kept.pop(entry.index, None)
                continue
            self._used.pop(entry.index, None)
            self._mixed[entry.index] = (weakref.ref(now), square)
            total += square
        call.waiting = []
        return total

    def _measure_fresh(self) -> None:
        """Norm of what this step's backward passes added, where earlier gradients were still there."""
        total = 0.0
        parameters = self._recorder.registry.parameters
        held = [e for e in parameters if e.held] or parameters
        for entry in held:
            tensor = entry.ref()
            gradient = tensor.grad if tensor is not None and entry.tied_to is None else None
            if gradient is None or gradient.layout is not torch.strided or entry.index in self._used:
                continue
            kept = self._kept.get(entry.index)
            total += _square(gradient if kept is None or kept.shape != gradient.shape else gradient.detach() - kept)
        self._recorder.latest["fresh_grad_norm"] = math.sqrt(total) / self.scale


class _Call:
    """One backward call, while it runs."""

    __slots__ = ("retained", "roots", "scale", "site", "waiting")

    def __init__(self, roots: list[Tensor], site: int, scale: float, retained: bool) -> None:
        self.roots = roots
        self.site = site
        self.scale = scale
        self.retained = retained
        self.waiting: list[tuple[ParameterEntry, Tensor, int, float]] = []


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], at: int, name: str) -> Any:
    return args[at] if len(args) > at else kwargs.get(name)


def _mean(root: Tensor) -> float:
    return root.item() if root.numel() == 1 else root.detach().float().mean().item()


def _square(gradient: Tensor) -> float:
    array = stats.host(gradient)
    if array is not None:
        return stats.sum_of_squares(stats.flat(array)) if array.size else 0.0
    plain = stats.strided(gradient)
    return float(torch.linalg.vector_norm(plain, dtype=torch.float32)) ** 2 if plain is not None else 0.0
