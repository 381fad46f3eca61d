"""GradScaler: the loss scale, when it changes, and the steps it skips."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.amp.grad_scaler import GradScaler

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer, found_near, mark

MAX_FACTS: Final = 200
"""Facts of one kind about a scaler; a scale that never settles would otherwise be told at every step."""
_MARK: Final = "aitia_scale"


class Watch(Observer):
    """Patches GradScaler; `torch.cuda.amp.GradScaler` inherits from it."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._scaled: list[tuple[weakref.ref[torch.Tensor], float]] = []
        self.scale: float | None = None
        """Present loss scale; None before anything was scaled."""
        self.unscaled: set[int] = set()
        """Optimizers (by id) whose gradients were unscaled since the last update."""
        self._stepped = False
        self._told: dict[str, int] = {}

    def install(self) -> None:
        self.mute("before_step")
        self.recorder.scale_of = self.scale_of
        self.replace(GradScaler, "__init__", self._wrap_init)
        self.replace(GradScaler, "scale", self._wrap_scale)
        self.replace(GradScaler, "unscale_", self._wrap_unscale)
        self.replace(GradScaler, "step", self._wrap_step)
        self.replace(GradScaler, "update", self._wrap_update)

    def scale_of(self, root: torch.Tensor) -> float:
        """Factor by which a scaler multiplied this backward root."""
        if self.scale is None:
            return 1.0
        for reference, scale in self._scaled:
            if reference() is root:
                return scale
        found = found_near(root, _MARK)
        return float(found) if found is not None else 1.0

    def _wrap_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(scaler: Any, *args: Any, **kwargs: Any) -> None:
            original(scaler, *args, **kwargs)
            self.guard(self._tell, "built", scaler, None)

        return init

    def _wrap_scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if not self.idle():
                self.guard(self._note_scale, scaler, result)
            return result

        return scale

    def _note_scale(self, scaler: Any, result: Any) -> None:
        if not scaler.is_enabled():
            return
        scale = self.scale = float(scaler.get_scale())
        self.recorder.latest["loss_scale"] = scale
        results = [result] if isinstance(result, torch.Tensor) else list(result)
        self._scaled = [(weakref.ref(r), scale) for r in results if isinstance(r, torch.Tensor)]
        for tensor, _ in self._scaled:
            alive = tensor()
            if alive is not None:
                mark(alive, _MARK, scale)

    def _wrap_unscale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def unscale_(scaler: Any, optimizer: Any) -> Any:
            result = original(scaler, optimizer)
            if not self.idle() and scaler.is_enabled():
                self.unscaled.add(id(optimizer))
                self.guard(self.recorder.letter, "U")
            return result

        return unscale_

    def _wrap_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if self.idle() or not scaler.is_enabled():
                return original(scaler, optimizer, *args, **kwargs)
            self.hear("before_step")
            self._stepped = False
            result = original(scaler, optimizer, *args, **kwargs)
            if not self._stepped:
                self.guard(self._tell, "skip", scaler, None)
            return result

        return step

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._stepped = True

    def _wrap_update(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def update(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            if self.idle() or not scaler.is_enabled():
                return original(scaler, *args, **kwargs)
            before = self.scale
            result = original(scaler, *args, **kwargs)
            self.guard(self._updated, scaler, before)
            return result

        return update

    def _updated(self, scaler: Any, before: float | None) -> None:
        self.recorder.letter("G")
        self.unscaled.clear()
        if before is not None and float(scaler.get_scale()) != before:
            self._tell("update", scaler, before)

    def _tell(self, event: str, scaler: Any, previous: float | None) -> None:
        self._told[event] = self._told.get(event, 0) + 1
        if self._told[event] <= MAX_FACTS:
            data = {"event": event, "scale": float(scaler.get_scale()), "previous": previous}
            data |= {"enabled": scaler.is_enabled(), "times": self._told[event]}
            self.recorder.fact("scaler", data=data, where=user_frame())
