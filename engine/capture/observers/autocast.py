"""Regions of automatic mixed precision: how often they are entered, and what runs inside of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import LossCall, Observer


class Watch(Observer):
    """Patches the entry of `torch.autocast`; counts forwards and losses inside and outside of enabled regions."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._counts = {"entered": 0, "refused": 0, "forwards_inside": 0, "forwards_outside": 0, "losses_inside": 0}
        self._device = "cpu"
        self._inside = False
        """Whether the forward that runs has been in a region."""
        self._where: tuple[str, int] | None = None

    def install(self) -> None:
        self.mute("before_root", "after_loss")
        self.replace(torch.amp.autocast_mode.autocast, "__init__", self._wrap_init)
        self.replace(torch.amp.autocast_mode.autocast, "__enter__", self._wrap_enter)

    def _wrap_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(
            region: Any, device_type: str, dtype: Any = None, enabled: bool = True, *args: Any, **kwargs: Any
        ) -> None:
            original(region, device_type, dtype, enabled, *args, **kwargs)
            if enabled and not getattr(region, "_enabled", True) and torch.is_grad_enabled() and not self.idle():
                self.guard(self._refused)

        return init

    def _refused(self) -> None:
        """Asked for, and switched off by torch: a device that is not there, a precision that it does not know."""
        self._counts["refused"] += 1
        self._where = self._where or user_frame()

    def _wrap_enter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def enter(region: Any) -> Any:
            entered = original(region)
            if not torch.compiler.is_compiling() and not self.idle():
                self.guard(self._entered, region)
            return entered

        return enter

    def _entered(self, region: Any) -> None:
        if getattr(region, "_enabled", False) and torch.is_grad_enabled():
            if not self._counts["entered"]:
                self.hear("before_root", "after_loss")
            self._counts["entered"] += 1
            self._device = str(getattr(region, "device", "cpu"))
            self._where = self._where or user_frame()
            model = self.recorder.forward.outermost()
            if model is not None and not self._inside:  # the model brings its own region
                self._inside = True
                if model.training and self._counts["forwards_outside"]:
                    self._counts["forwards_outside"] -= 1
                self._counts["forwards_inside"] += 1

    def before_root(self, root: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        self._inside = torch.is_autocast_enabled(self._device)
        if torch.is_grad_enabled() and module.training and self._counts["entered"]:
            self._counts["forwards_inside" if torch.is_autocast_enabled(self._device) else "forwards_outside"] += 1

    def after_loss(self, call: LossCall) -> None:
        """A loss inside of a region."""
        if call.grad and self._counts["entered"] and torch.is_autocast_enabled(self._device):
            self._counts["losses_inside"] += 1

    def finish(self) -> None:
        if self._counts["entered"] or self._counts["refused"]:
            self.recorder.fact("autocast_use", data=dict(self._counts), where=self._where)
