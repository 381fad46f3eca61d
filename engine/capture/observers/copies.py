"""A network that began as a copy of the one that is trained: a teacher, a target, an average. Does it ever move?"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.observers.base import Observer

MAX_PAIRS: Final = 32
"""Pairs of equal shapes that are compared."""
EDGE: Final = (0.85, 1.0001)
"""Largest entry of a layer as torch initialises it, times the root of its fan-in: uniform up to 1, and seen near it."""


@dataclass
class _Copy:
    root: str
    of: str
    pairs: list[tuple[weakref.ref[Tensor], weakref.ref[Tensor]]]
    prints: list[tuple[float, float]]
    at: list[tuple[int, int]]
    """(version, address) of each of its parameters: writing to one changes it, whatever is written."""
    late: bool = False
    """It was first seen when the original had moved already."""
    untouched: bool = False
    """It held what torch had drawn then: nothing was learned, loaded or averaged."""


class Watch(Observer):
    """Compares modules of equal shapes before the first step, and looks again when the program ends."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._looked = False
        self._copies: list[_Copy] = []
        self._moved: dict[int, tuple[bool, bool]] = {}
        self._written: dict[int, bool] = {}
        self._roots: set[int] = set()
        self._trained: set[int] = set()

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._looked:
            self._looked = True
            if self.recorder.step == 0:
                self._look()
            self.mute("before_step")  # but not after_step: a copy may turn up later

    def _look(self) -> None:
        trained: list[tuple[str, nn.Module]] = []
        still: list[tuple[str, nn.Module]] = []
        for name, module in self._candidates():
            (trained if self._trains(module) else still).append((name, module))
        compared = 0
        for name, copy in still:
            shapes = [p.shape for p in copy.parameters()]
            for of, original in trained:
                if compared >= MAX_PAIRS or [p.shape for p in original.parameters()] != shapes:
                    continue
                compared += 1
                pairs = list(zip(copy.parameters(), original.parameters(), strict=True))
                if all(a is not b and torch.equal(a, b) for a, b in pairs) and _untouched(original):
                    self._copies.append(_copy(name, of, pairs, late=False))
                    break

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        """A model that first runs in the middle of the training: an average that is evaluated after each epoch."""
        if root in self._roots:
            return
        self._roots.add(root)
        if self.recorder.step > 0:
            self._tell_fresh(module)
        if not self._looked or len(self._copies) >= MAX_PAIRS or self._trains(module):
            return
        shapes = [p.shape for p in module.parameters()]
        if not any(len(shape) > 1 for shape in shapes) or any(c.pairs[0][0]() is _first(module) for c in self._copies):
            return
        name = next((e.name for e, model in self.recorder.registry.live_models() if model is module), None)
        for entry, original in self.recorder.registry.live_models():
            alike = original is not module and [p.shape for p in original.parameters()] == shapes
            if alike and name is not None and self._trains(original):
                pairs = list(zip(module.parameters(), original.parameters(), strict=True))
                self._copies.append(_copy(name, entry.name, pairs, late=True, untouched=_untouched(module)))
                return

    def _tell_fresh(self, module: nn.Module) -> None:
        """A model, or a part of one, that enters a training which is under way with the weights that torch drew."""
        parts = [("", module), *module.named_children()]
        fresh = [name for name, part in parts if sum(p.dim() > 1 for p in part.parameters()) > 1 and _untouched(part)]
        name = next((e.name for e, model in self.recorder.registry.live_models() if model is module), None)
        if fresh and name is not None and len(self._roots) <= MAX_PAIRS:
            self.recorder.fact("fresh_model", subject=name, data={"root": name, "parts": fresh[:MAX_PAIRS]})

    def _candidates(self) -> Iterator[tuple[str, nn.Module]]:
        """Models and their children, where these have weights."""
        for entry, model in self.recorder.registry.live_models():
            for name, module in ((entry.name, model), *((f"{entry.name}.{n}", m) for n, m in model.named_children())):
                if any(p.dim() > 1 and p.is_floating_point() for p in module.parameters()):
                    yield name, module

    def _trains(self, module: nn.Module) -> bool:
        return self._held(module.parameters())

    def _held(self, parameters: Iterable[Tensor]) -> bool:
        registry = self.recorder.registry
        known = ((p, registry.parameter(p)) for p in parameters)
        return any(p.requires_grad and entry is not None and entry.held for p, entry in known)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Locals of a function are gone when it ends, so the last look is kept."""
        if self._copies and (self.recorder.measuring or self.recorder.step <= 2):
            self._compare()

    def _compare(self) -> None:
        for i, copy in enumerate(self._copies):
            moved, original_moved = self._moved.get(i, (False, False))
            for (a, b), (was, original_was) in zip(copy.pairs, copy.prints, strict=True):
                now, original = a(), b()
                if now is None or original is None:
                    break
                moved = moved or _print(now) != was
                original_moved = original_moved or _print(original) != original_was
                if moved:
                    break
            self._moved[i] = moved, original_moved
            alive = [t for t in (a() for a, _ in copy.pairs) if t is not None]
            if copy.late and self._held(alive):  # it ran before its optimizer's first step
                self._trained.add(i)
            if alive:
                self._written[i] = self._written.get(i, False) or [_at(t) for t in alive] != copy.at

    def finish(self) -> None:
        self._compare()
        for i, copy in enumerate(self._copies):
            if i in self._trained:
                continue
            moved, original_moved = self._moved.get(i, (False, False))
            data = {"root": copy.root, "of": copy.of, "n": len(copy.pairs), "changed": moved, "late": copy.late}
            data |= {"written": self._written.get(i, False), "untouched": copy.untouched}
            self.recorder.fact("copy", subject=copy.root, data={**data, "original_changed": original_moved})


def _copy(
    name: str, of: str, pairs: list[tuple[nn.Parameter, nn.Parameter]], *, late: bool, untouched: bool = False
) -> _Copy:
    references = [(weakref.ref[Tensor](a), weakref.ref[Tensor](b)) for a, b in pairs]
    prints = [(_print(a), _print(b)) for a, b in pairs]
    return _Copy(name, of, references, prints, [_at(a) for a, _ in pairs], late, untouched)


def _first(module: nn.Module) -> Tensor | None:
    return next(module.parameters(), None)


def _at(parameter: Tensor) -> tuple[int, int]:
    return parameter._version, parameter.data_ptr()


def _print(parameter: Tensor) -> float:
    return float(parameter.detach().double().abs().sum())


def _untouched(module: nn.Module) -> bool:
    """Whether most layers still hold what torch's own initialisation gave them: nothing was learned or loaded."""
    seen = default = 0
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            continue
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            seen += 1
            edge = float(weight.detach().abs().max()) * (weight[0].numel() ** 0.5)
            default += EDGE[0] < edge <= EDGE[1]
        elif isinstance(layer, (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)):
            seen += 1
            default += bool((weight == 1).all())
    return 2 * default > seen
