"""What a model is given, against what it makes of it: masks that hide keys from attention, images without detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from aitia.engine.capture.observers.base import Observer

MAX_CALLS: Final = 12
"""Attention calls that are looked at; a mask that is built wrongly is wrong in the first batch."""
MAX_STEPS: Final = 3
LARGE: Final = 96
"""Height and width from which on an image may be too large for its content."""
FACTORS: Final = (8, 4)
LOST: Final = 0.005
"""Share of the variance that may go when nothing goes: photographs lose several percent at a fourth of their size."""
HIDDEN: Final = -1e4
"""Added to a score, this hides its key."""


class Watch(Observer):
    """Patches softmax and scaled dot-product attention; looks at the first batches of images."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._tokens: Tensor | None = None
        self._calls = 0
        self._told: set[tuple[bool, bool]] = set()
        self._images = False

    def install(self) -> None:
        self.replace(functional, "scaled_dot_product_attention", self._wrap_attention)
        for owner in (functional, torch, Tensor):
            self.replace(owner, "softmax", self._wrap_softmax)

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._tokens = None
        if self.recorder.step >= MAX_STEPS:
            self.mute("before_root", "after_root")
        if not torch.is_grad_enabled() or self.recorder.step >= MAX_STEPS:
            return
        x = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        if x is None or x.is_meta or x.layout is not torch.strided:
            return
        if x.dim() == 4 and x.is_floating_point() and min(x.shape[-2:]) >= LARGE and not self._images:
            self._images = True
            self.recorder.fact("input_detail", data=_detail(x))
        elif x.dim() in {2, 3} and x.shape[1] > 1 and self._calls < MAX_CALLS:
            self._tokens = x

    def after_root(
        self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self._tokens = None

    def _wrap_attention(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
            if self._tokens is not None and attn_mask is not None and not self.idle():
                self.guard(self._masked, attn_mask)
            return original(query, key, value, attn_mask, *args, **kwargs)

        return attention

    def _masked(self, mask: Tensor) -> None:
        self._look(~mask if mask.dtype is torch.bool else mask < HIDDEN)

    def _wrap_softmax(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def softmax(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if self._tokens is not None and not self.idle():
                self.guard(self._weights, result)
            return result

        return softmax

    def _weights(self, result: Tensor) -> None:
        if result.dim() in {3, 4}:
            self._look(result.detach() == 0)

    def _look(self, hidden: Tensor) -> None:
        """[batch (x heads), …, key]: which keys no query may see, and what stands there."""
        tokens = self._tokens
        if tokens is None or hidden.dim() < 2 or hidden.shape[-1] != tokens.shape[1] or self._calls >= MAX_CALLS:
            return
        rows = tokens.shape[0]
        if hidden.shape[0] % rows:
            return
        self._calls += 1
        keys = hidden.reshape(rows, -1, hidden.shape[-1]).all(1)
        if not bool(keys.any()):
            return
        ids = tokens if tokens.dim() == 2 else (tokens.double() * torch.arange(1, tokens.shape[2] + 1)).sum(-1)
        data = {
            "n_hidden": int(keys.sum()),
            "n_visible": int((~keys).sum()),
            "distinct_hidden": len(set(ids[keys].tolist())),
            "distinct_visible": len(set(ids[~keys].tolist())),
            "no_key": int(keys.all(1).sum()),
            "n_rows": rows,
        }
        kind = (data["distinct_hidden"] > 1, data["distinct_visible"] > 1)
        if kind not in self._told:
            self._told.add(kind)
            self.recorder.fact("attention_mask", data=data)


def _detail(x: Tensor) -> dict[str, Any]:
    """By how much the images can be shrunk and blown up again with nothing lost."""
    few = x[:2].detach().float()
    total = float(few.var())
    lost = {}
    for factor in FACTORS:
        small = functional.interpolate(few, scale_factor=1 / factor, mode="area")
        again = [functional.interpolate(small, few.shape[-2:], mode=mode) for mode in ("nearest", "bilinear")]
        lost[factor] = min(float((few - a).var()) for a in again) / total if total > 0 else 1.0
    fits = [factor for factor in FACTORS if lost[factor] < LOST]
    return {"shape": list(x.shape), "factor": max(fits, default=1), "residual": lost[min(FACTORS)]}
