"""A model that is filled with another model's numbers in another order: does it still answer as the other one does?"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer
from aitia.engine.capture.observers.probe_set import difference, first_float
from aitia.engine.capture.observers.replay_forward import quiet, twin_of

SAME_SUM: Final = 1e-9
"""Relative difference of two sums of the same double-precision numbers in another order."""
LARGEST: Final = 64_000_000
"""Bytes of a model whose numbers are summed when it is first used."""
SAMPLES: Final = 64
"""Samples on which both are asked."""
MAX_FACTS: Final = 8


class Watch(Observer):
    """Looks at each model when it first runs after training began: is it a rearrangement of one that was trained?"""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._roots: set[int] = set()
        self._told = 0

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if root in self._roots:
            return
        self._roots.add(root)
        if self.recorder.step == 0 or self._told >= MAX_FACTS or self._trains(module) or not _small(module):
            return
        sums = _sums(module)
        for entry, original in self.recorder.registry.live_models():
            if original is module or not self._trains(original) or not _small(original):
                continue
            if _alike(sums, _sums(original)) and not _equal(module, original):
                self._told += 1
                self._compare(module, entry.name, original, args, kwargs)
                return

    def _compare(self, module: nn.Module, of: str, original: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        outputs = []
        for model in (module, original):
            twin = twin_of(model)
            if twin is None:
                return
            twin.eval()
            with quiet(), torch.no_grad():
                outputs.append(first_float(twin(*_few(args), **kwargs)))
        ours, theirs = outputs
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return
        live = dict(original.named_parameters())
        moved = [n for n, p in module.named_parameters() if n not in live or not _same(p, live[n])]
        name = next((e.name for e, m in self.recorder.registry.live_models() if m is module), type(module).__name__)
        data = {
            "root": name,
            "of": of,
            "moved": moved[:20],
            "n_moved": len(moved),
            "difference": difference(theirs, ours),
        }
        self.recorder.fact("rearranged", subject=name, data=data, where=user_frame())

    def _trains(self, module: nn.Module) -> bool:
        known = (self.recorder.registry.parameter(p) for p in module.parameters())
        return any(entry is not None and entry.held for entry in known)


def _few(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.detach()[:SAMPLES] if isinstance(a, Tensor) and a.dim() else a for a in args)


def _small(module: nn.Module) -> bool:
    sizes = [p.numel() * p.element_size() for p in module.parameters() if not p.is_meta]
    return 0 < sum(sizes) <= LARGEST and any(p.dim() > 1 for p in module.parameters())


def _sums(module: nn.Module) -> tuple[int, float, float, float]:
    """How many numbers, and sums of them that do not depend on their order."""
    flat = [p.detach().double().flatten().cpu() for p in module.parameters()]
    total = sum(float(t.sum()) for t in flat)
    return sum(len(t) for t in flat), total, sum(float(t.abs().sum()) for t in flat), sum(float(t @ t) for t in flat)


def _alike(a: tuple[int, float, float, float], b: tuple[int, float, float, float]) -> bool:
    size = max(a[2], b[2])
    near = abs(a[1] - b[1]) <= SAME_SUM * size and abs(a[2] - b[2]) <= SAME_SUM * size
    return a[0] == b[0] and near and abs(a[3] - b[3]) <= SAME_SUM * max(a[3], b[3])


def _equal(module: nn.Module, original: nn.Module) -> bool:
    """Whether one is simply the other: the same parameters in the same places."""
    pairs = list(zip(module.parameters(), original.parameters(), strict=False))
    same = len(pairs) == len(list(module.parameters())) == len(list(original.parameters()))
    return same and all(_same(a, b) for a, b in pairs)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.detach().to(b.device), b.detach())
