"""The forwards of a step, kept by reference until it is over, so that the one that went wrong can be run again."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

MAX_HELD: Final = 8
"""Forwards of one step that are kept; of more, the last."""
HELD_BYTES: Final = 64_000_000
"""A larger output's gradient is not kept until the step: it would raise the program's peak of memory."""
DROPOUT: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.RReLU)


@dataclass
class Call:
    """One forward: the model, what it was given, the random stream it found, and what came back to its outputs."""

    model: weakref.ref[nn.Module]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: Tensor | None
    autocast: tuple[str, torch.dtype] | None
    gradients: dict[int, Tensor] = field(default_factory=dict)
    """Number of the floating output → the gradient that backward handed to it."""

    def bad_input(self) -> Tensor | None:
        """The first input that holds NaN or Inf."""
        return next((t for t in floats((self.args, self.kwargs)) if not bool(torch.isfinite(t).all())), None)

    def bad_gradient(self) -> Tensor | None:
        """The first gradient of an output that holds NaN or Inf."""
        return next((g for g in self.gradients.values() if not bool(torch.isfinite(g).all())), None)


class Held:
    """Fills as the step goes on; `clear` at its end."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=MAX_HELD)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._random: dict[int, bool] = {}
        self._begun = False

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A forward begins."""
        self._begun = not _transformed()
        if not self._begun:
            return
        state = torch.get_rng_state() if self._draws(module) else None
        device = self._device
        autocast = (device, torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else None
        self.calls.append(Call(weakref.ref(module), _detached(tuple(args)), _detached(dict(kwargs)), state, autocast))

    def end(self, output: Any) -> None:
        """It ended: ask for the gradients of what it returned."""
        if not self.calls or not self._begun or _transformed():
            return
        call = self.calls[-1]
        for number, tensor in enumerate(floats(output)):
            if tensor.requires_grad and tensor.numel() * tensor.element_size() <= HELD_BYTES:
                tensor.register_hook(_keeper(call, number))  # type: ignore[no-untyped-call]  # torch's own has no types

    def clear(self) -> None:
        """The step is over."""
        self.calls.clear()

    def _draws(self, module: nn.Module) -> bool:
        if id(module) not in self._random:
            self._random[id(module)] = any(
                isinstance(m, DROPOUT) or "Dropout" in type(m).__name__ for m in module.modules()
            )
        return module.training and self._random[id(module)]


def _transformed() -> bool:
    """Whether a transform of torch.func (grad, vmap …) is running: its tensors are wrappers that do not outlive it."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def _keeper(call: Call, number: int) -> Any:
    reference = weakref.ref(call)  # the hook lives as long as the graph, and must not keep the batch alive

    def keep(gradient: Tensor) -> None:
        alive = reference()
        if alive is not None:
            alive.gradients[number] = gradient

    return keep


def _detached(value: Any, depth: int = 0) -> Any:
    """The same structure without graphs; tensors keep their storage, and whether a gradient goes on through them."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_() if value.requires_grad else value
    if depth < 4:
        if type(value) is dict:
            return {k: _detached(v, depth + 1) for k, v in value.items()}
        if type(value) in {tuple, list}:
            return type(value)(_detached(v, depth + 1) for v in value)
    return value


def floats(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """Every dense floating tensor inside inputs or an output, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.layout is torch.strided and not value.is_meta:
            yield value
    elif depth < 5:
        items: Any = value if isinstance(value, (tuple, list)) else ()
        if isinstance(value, Mapping):
            items = value.values()
        elif hasattr(value, "__dataclass_fields__"):
            items = vars(value).values()
        for item in items:
            yield from floats(item, depth + 1)


def rows_of(args: Any, kwargs: Any) -> int | None:
    """Samples in the batch: the first dimension of the first tensor."""
    for value in (*args, *kwargs.values()):
        for tensor in _tensors(value):
            if tensor.dim():
                return int(tensor.shape[0])
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def first_row(bad: Tensor, rows: int | None = None) -> int | None:
    """The sample of the first marked entry; None where the first dimension does not count samples.

    With `rows` samples in the batch, a dimension of `rows * k` counts k entries of each (positions, heads).
    """
    if bad.dim() == 0 or bad.shape[0] == 0 or (rows and bad.shape[0] % rows):
        return None
    marked = bad.reshape(bad.shape[0], -1).any(1).nonzero()
    return int(marked[0]) // (bad.shape[0] // rows if rows else 1) if len(marked) else None


def extremes(x: Tensor) -> dict[str, Any]:
    """Smallest, largest and how many are zero, NaN, infinite."""
    x = x.detach()
    finite = x[torch.isfinite(x)]
    return {
        "shape": list(x.shape),
        "dtype": str(x.dtype).removeprefix("torch."),
        "min": float(finite.min()) if finite.numel() else None,
        "max": float(finite.max()) if finite.numel() else None,
        "absmin": float(finite.abs().min()) if finite.numel() else None,
        "zeros": int((x == 0).sum()),
        "nan": int(torch.isnan(x).sum()),
        "inf": int(torch.isinf(x).sum()),
    }
