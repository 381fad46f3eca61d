"""What the program compares with `==` while it evaluates: predictions with labels, and how often they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_frames
from aitia.engine.capture.observers.base import Observer

LARGEST: Final = 1_000_000
"""Numbers of an output, or of a comparison, beyond which reading them again is no small matter."""
ALLOWANCE: Final = 0.3
"""Seconds that may be spent on comparisons in all …"""
SHARE: Final = 0.005
"""… before this share of the run's time bounds it."""
MOST_STEPS: Final = 400
"""Evaluations of one place that are kept apart."""
MOST_PLACES: Final = 16


@dataclass
class _Place:
    """One `==` in the user's code, over the evaluations it was part of."""

    where: tuple[str, int]
    shapes: tuple[list[int], list[int]]
    calls: int = 0
    crossed: int = 0
    """Calls in which every prediction met every label: [n, 1] with [n]."""
    single: int = 0
    """… in which the prediction was the argmax over one output."""
    matched: int = 0
    """… in which one side is what the model's last output says, class by class."""
    agreed: dict[int, list[float]] = field(default_factory=dict)
    """Step → [comparisons that agree, comparisons]."""


class Watch(Observer):
    """Patches `==` of tensors; looks at it only where gradients are off, or the model was put into evaluation mode."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._places: dict[tuple[str, int, int], _Place] = {}
        self._said: tuple[Tensor, Tensor | None, int] | None = None
        """Of the model's last output in evaluation: its classes, the sign of a single logit, and its width."""
        self._training = True
        self._spent = 0.0

    def install(self) -> None:
        self.replace(Tensor, "__eq__", self._wrap)
        self.replace(Tensor, "eq", self._wrap)
        self.replace(torch, "eq", self._wrap)

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._training = module.training and torch.is_grad_enabled()
        self._said = None

    def after_root(
        self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        if self._training or self._over() or type(output) is not Tensor:
            return
        if output.dim() < 1 or not output.is_cpu or not output.is_floating_point() or output.numel() > LARGEST:
            return
        if _special(output) or not output.numel():
            return
        start = time.perf_counter()
        plain = output.detach()
        width = int(plain.shape[-1])
        self._said = (plain.argmax(-1), plain.reshape(-1) > 0 if width == 1 else None, width)
        self._spent += time.perf_counter() - start

    # ---- one comparison ----------------------------------------------------------------------------------------

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def eq(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if len(args) == 2 and type(args[1]) is Tensor and type(result) is Tensor and not self.idle():
                if torch.is_grad_enabled() and self._training:
                    return result
                self.guard(self._compared, args[0], args[1], result)
            return result

        return eq

    def _compared(self, left: Any, right: Tensor, result: Tensor) -> None:
        if type(left) is not Tensor or self._over() or left.dim() < 1 or right.dim() < 1:
            return
        if result.numel() < 2 or not result.is_cpu or result.numel() > LARGEST or _special(result):
            return
        if left.data_ptr() == right.data_ptr():
            return  # labels among each other
        start = time.perf_counter()
        place = self._place(left, right)
        if place is not None:
            place.calls += 1
            n = result.numel()
            place.crossed += left.dim() != right.dim() and n == left.numel() * right.numel()
            self._relate(place, left, right)
            step = self.recorder.step
            if step in place.agreed or len(place.agreed) < MOST_STEPS:
                told = place.agreed.setdefault(step, [0.0, 0.0])
                told[0] += float(result.sum())
                told[1] += n
        self._spent += time.perf_counter() - start

    def _relate(self, place: _Place, left: Tensor, right: Tensor) -> None:
        if self._said is None:
            return
        classes, signs, width = self._said
        alike = [s for s in (left, right) if s.numel() == classes.numel() and s.dtype is classes.dtype]
        same = any(torch.equal(s.reshape(-1), classes.reshape(-1)) for s in alike)
        signed = signs is not None and any(
            torch.equal(s.reshape(-1).bool(), signs) for s in (left, right) if s.numel() == signs.numel()
        )
        place.single += same and width == 1 and classes.numel() > 1
        place.matched += signed or (same and width > 1)

    def _place(self, left: Tensor, right: Tensor) -> _Place | None:
        frame, name = next(user_frames(), (None, ""))
        if frame is None:
            return None
        key = (name, frame.f_lineno, frame.f_lasti)
        place = self._places.get(key)
        if place is None and len(self._places) < MOST_PLACES:
            place = self._places[key] = _Place((name, frame.f_lineno), (list(left.shape), list(right.shape)))
        return place

    def _over(self) -> bool:
        return self._spent > max(ALLOWANCE, SHARE * self.recorder.seconds())

    def finish(self) -> None:
        for place in self._places.values():
            data = {
                "shapes": list(place.shapes),
                "calls": place.calls,
                "crossed": place.crossed,
                "single": place.single,
                "matched": place.matched,
                "steps": list(place.agreed),
                "agreed": [hits for hits, _ in place.agreed.values()],
                "n": [n for _, n in place.agreed.values()],
            }
            self.recorder.fact("comparison", data=data, where=place.where)


def _special(x: Tensor) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x)) or x.layout is not torch.strided or x.is_meta
