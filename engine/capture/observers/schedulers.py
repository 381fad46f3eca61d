"""Learning-rate schedulers: how they were set up, how often they step for each optimizer step, where the rate ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer

MAX_SCHEDULERS: Final = 64
"""A scheduler built at every step must not fill the run."""
_PLAIN: Final = (bool, int, float, str)


class _Kept:
    def __init__(self, index: int, scheduler: Any, step: int) -> None:
        self.index = index
        self.reference = weakref.ref(scheduler)
        self.first_step = step
        self.steps = 0
        self.lr_first: float | None = None
        self.lr_last: float | None = None
        self.last_epoch: float | None = None
        self.where: tuple[str, int] | None = None
        """Where it is stepped."""


class Watch(Observer):
    """Patches the constructor and `step` of every scheduler class of torch."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._kept: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()
        self._all: list[_Kept] = []
        self._depth = 0

    def install(self) -> None:
        classes = [c for c in vars(lr_scheduler).values() if isinstance(c, type) and issubclass(c, LRScheduler)]
        for cls in dict.fromkeys([LRScheduler, *classes]):
            if "__init__" in vars(cls):
                self.replace(cls, "__init__", self._wrap_init)
            if "step" in vars(cls):
                self.replace(cls, "step", self._wrap_step)

    def _wrap_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(scheduler: Any, *args: Any, **kwargs: Any) -> None:
            self._depth += 1
            try:
                original(scheduler, *args, **kwargs)
            finally:
                self._depth -= 1
            if self._depth == 0 and not self.idle():
                self.guard(self._built, scheduler, args, kwargs)

        return init

    def _wrap_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            try:
                result = original(scheduler, *args, **kwargs)
            finally:
                self._depth -= 1
            if self._depth == 0 and not self.idle():
                self.guard(self._stepped, scheduler)
            return result

        return step

    def _built(self, scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if scheduler in self._kept or len(self._all) >= MAX_SCHEDULERS:
            return
        kept = _Kept(len(self._all), scheduler, self.recorder.step)
        self._kept[scheduler] = kept
        self._all.append(kept)
        kept.lr_first = kept.lr_last = _rate(scheduler)
        optimizer = getattr(scheduler, "optimizer", None)
        self.recorder.fact(
            "scheduler_built",
            subject=str(kept.index),
            data={
                "index": kept.index,
                "cls": type(scheduler).__name__,
                "optimizer": self.recorder.optimizer_index(optimizer) if optimizer is not None else None,
                "config": _config(scheduler),
                "per": "metric" if isinstance(scheduler, ReduceLROnPlateau) else "step",
            },
            where=user_frame(),
        )

    def _stepped(self, scheduler: Any) -> None:
        kept = self._kept.get(scheduler)
        if kept is None:
            self._built(scheduler, (), {})
            kept = self._kept.get(scheduler)
        if kept is None:
            return
        kept.steps += 1
        if kept.steps == 1:
            kept.where = user_frame()
        kept.lr_last = _rate(scheduler)
        kept.last_epoch = float(getattr(scheduler, "last_epoch", 0))
        self.recorder.letter(f"R{kept.index}")

    def finish(self) -> None:
        for kept in self._all:
            taken = self.recorder.step - kept.first_step
            scheduler = kept.reference()
            data = {
                "index": kept.index,
                "steps_per_optimizer_step": kept.steps / taken if taken else None,
                "n_steps": kept.steps,
                "n_optimizer_steps": taken,
                "lr_first": kept.lr_first,
                "lr_last": kept.lr_last if scheduler is None else _rate(scheduler),
                "last_epoch": kept.last_epoch,
            }
            self.recorder.fact("scheduler_rate", subject=str(kept.index), data=data, where=kept.where)


def _rate(scheduler: Any) -> float | None:
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", [])
    return max((float(group["lr"]) for group in groups), default=None)


def _config(scheduler: Any) -> dict[str, Any]:
    """Plain settings of a scheduler; those of the schedulers inside it stand under their number."""
    config: dict[str, Any] = {}
    for name, value in vars(scheduler).items():
        if name.startswith("_"):
            continue
        if isinstance(value, _PLAIN):
            config[name] = value
        elif isinstance(value, (list, tuple)) and len(value) <= 16 and all(isinstance(v, _PLAIN) for v in value):
            config[name] = list(value)
    if hasattr(scheduler, "milestones"):
        config["milestones"] = sorted(scheduler.milestones)
    for number, inner in enumerate(getattr(scheduler, "_schedulers", ())):
        config[f"inner_{number}"] = {"cls": type(inner).__name__, **_config(inner)}
    config.pop("last_epoch", None)
    return config
