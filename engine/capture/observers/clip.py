"""Gradient clipping: how often, with what bound, and where in the order of calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch.nn.utils import clip_grad

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer
from aitia.engine.capture.observers.scaler import Watch as ScalerWatch

FUNCTIONS: Final = ("clip_grad_norm_", "clip_grad_value_")
MAX_FACTS: Final = 50
"""Clipping with a bound that changes at every step is told this often."""


class Watch(Observer):
    """Patches the clipping functions wherever they were bound."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._told: set[tuple[Any, ...]] = set()

    def install(self) -> None:
        for name in FUNCTIONS:
            original = getattr(clip_grad, name)
            bound = next(p for p in inspect.signature(original).parameters if p in {"max_norm", "clip_value"})
            self.replace(clip_grad, name, partial(self._wrap, name, bound))
            self.replace_bound(name, original, getattr(clip_grad, name), clip_grad)

    def _wrap(self, name: str, bound: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if not self.idle():
                limit = kwargs.get(bound, args[1] if len(args) > 1 else None)
                self.guard(self._clipped, name, limit, result)
            return result

        return clip

    def _clipped(self, name: str, limit: Any, result: Any) -> None:
        recorder = self.recorder
        order = recorder.signature.line()
        recorder.letter("C")
        recorder.tally["n_clip"] = recorder.tally.get("n_clip", 0.0) + 1
        limit = float(limit) if limit is not None else float("nan")
        recorder.latest["clip_max"] = limit
        if isinstance(result, torch.Tensor):
            recorder.latest["clip_norm"] = result.detach()
        scaler = next((o for o in recorder.observers if isinstance(o, ScalerWatch)), None)
        scale, unscaled = (scaler.scale, bool(scaler.unscaled)) if scaler is not None else (None, False)
        data = {
            "function": name,
            "max_norm": limit,
            "before_backward": recorder.backward.n_backward == 0,
            "before_unscale": scale is not None and scale != 1.0 and not unscaled,
        }
        where = user_frame()
        key = (*data.values(), where)
        if key in self._told or len(self._told) >= MAX_FACTS:
            return
        self._told.add(key)
        returned = result.item() if isinstance(result, torch.Tensor) else None
        recorder.fact("clip", data={**data, "returned": returned, "loss_scale": scale, "order": order}, where=where)
