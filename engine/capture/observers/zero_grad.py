"""Clearing of gradients: by the optimizer, by the model, or by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import torch

from aitia.engine.capture.observers.base import Observer

LOOKED_AT: Final = 8
"""Parameters of each optimizer whose gradients are looked at to notice clearing by hand."""


class Watch(Observer):
    """Patches `zero_grad`; clearing by hand is noticed when gradients that were there are gone at the next backward."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._depth = 0
        self._cleared = False
        self._calls = 0
        """`zero_grad` calls of the whole run."""
        self._stepped: list[weakref.ref[torch.Tensor]] = []

    def install(self) -> None:
        self.replace(torch.optim.Optimizer, "zero_grad", self._wrap)
        self.replace(torch.nn.Module, "zero_grad", self._wrap)

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> Any:
            if self.recorder.passing:
                tally = self.recorder.tally
                tally["n_zero_grad"] = tally.get("n_zero_grad", 0.0) + 1
                return original(owner, *args, **kwargs)
            if self._depth or self.idle():
                return original(owner, *args, **kwargs)
            self._depth += 1
            try:
                result = original(owner, *args, **kwargs)
            finally:
                self._depth -= 1
            self.recorder.quick(self._zeroed, owner)
            return result

        return zero_grad

    def _zeroed(self, owner: Any) -> None:
        self._calls += 1
        if self._calls == 1:
            self.mute("after_step", "before_backward")  # a program that calls it is known to
        optimizer = isinstance(owner, torch.optim.Optimizer)
        self._count(f"Z{self.recorder.optimizer_index(owner)}" if optimizer else "Z")

    def _count(self, letter: str) -> None:
        self._cleared = True
        tally = self.recorder.tally
        tally["n_zero_grad"] = tally.get("n_zero_grad", 0.0) + 1
        self.recorder.letter(letter)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember a few parameters that had a gradient in this step."""
        self._cleared = False
        held = [p for group in optimizer.param_groups for p in group["params"][:LOOKED_AT] if p.grad is not None]
        self._stepped = [weakref.ref(p) for p in held[:LOOKED_AT]]

    def before_backward(self, loss: torch.Tensor, site: int) -> None:
        if self._cleared or not self._stepped:
            return
        grads = [p.grad for p in (r() for r in self._stepped) if p is not None]
        self._stepped = []
        if grads and all(g is None or not bool(g.any()) for g in grads):
            self._count("Z")
