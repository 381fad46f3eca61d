"""One forward of a copy of the model, operation by operation, to find the first one that makes a non-finite value."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import sys
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aitia.engine.capture.frames import user_file, walk
from aitia.engine.capture.observers.held import Call, extremes, first_row, floats, rows_of

LARGEST: Final = 400_000_000
"""Bytes of a model that is still copied: the copy stands beside the original for a moment."""
FILLING: Final = (
    "fill",
    "full",
    "where",
    "scalar_tensor",
    "empty",
    "copy",
    "tril",
    "triu",
    "constant",
    "zeros",
    "ones",
)
"""Operations that put infinity where someone asked for it, as attention masks do."""


def find_origin(model: nn.Module, call: Call, any_input: bool = False) -> dict[str, Any] | None:
    """Run a copy's forward again; what is known of the first bad operation (keys as in `_describe`), or None.

    With `any_input` the operation may have been given the bad value, as an embedding is by its table.
    """
    twin = twin_of(model)
    if twin is None:
        return None
    names = {id(m): name for name, m in twin.named_modules()}
    mode = _Watcher(names, rows_of(call.args, call.kwargs), any_input)
    with quiet(), torch.no_grad(), in_autocast(call.autocast), mode:
        if call.state is not None:
            torch.set_rng_state(call.state)
        twin(*call.args, **call.kwargs)
    return mode.first or mode.first_nan


def twin_of(model: nn.Module) -> nn.Module | None:
    """A copy that can be run without anybody noticing; None where it is too large."""
    model = alone(model)
    if sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers())) > LARGEST:
        return None
    twin = copy.deepcopy(model)
    for module in twin.modules():
        module._forward_hooks.clear()  # the program's own hooks may keep what they see
        module._backward_hooks.clear()
    return twin


def alone(model: nn.Module) -> nn.Module:
    """The model inside a data-parallel wrapper, whose forward would talk to the other ranks."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def in_autocast(autocast: tuple[str, torch.dtype] | None) -> contextlib.AbstractContextManager[Any]:
    """The precision that a forward ran in."""
    return contextlib.nullcontext() if autocast is None else torch.autocast(*autocast)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Random streams as before afterwards, nothing printed."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    python, numbers = random.getstate(), np.random.get_state()
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    silence: Any = contextlib.nullcontext()
    if group:
        silence = _Alone()  # type: ignore[no-untyped-call]  # torch publishes no types for it
    with torch.random.fork_rng(devices=devices), contextlib.redirect_stdout(io.StringIO()), silence:
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


class _Alone(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class hook has no types
    """Refuses collectives: the other ranks do not take part in our experiments, and would be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "c10d" in func._schema.name.partition("::")[0]:
            raise RuntimeError(f"{func._schema.name} would wait for the other ranks")
        return func(*args, **(kwargs or {}))


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class hook has no types
    def __init__(self, names: dict[int, str], rows: int | None, any_input: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own has no types
        self._names = names
        self._rows = rows
        self._any_input = any_input
        self.first: dict[str, Any] | None = None
        """The first operation that made something non-finite of finite numbers."""
        self.first_nan: dict[str, Any] | None = None
        """The first that made NaN of infinities, as a softmax over a fully masked row does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.first is not None:
            return result
        name = func._schema.name.rpartition("::")[2]
        if any(f in name for f in FILLING) and name != "_to_copy":  # a cast overflows like any operation
            return result
        outputs = [t for t in floats(result) if not bool(torch.isfinite(t).all())]
        if not outputs:
            return result
        inputs = list(floats((args, kwargs or {})))
        finite = all(bool(torch.isfinite(t).all()) for t in inputs)
        if finite or self._any_input:
            self.first = self._describe(name, inputs, outputs[0], finite)
        elif self.first_nan is None and _has_nan(outputs) and not _has_nan(inputs):
            self.first_nan = self._describe(name, inputs, outputs[0], finite)
        return result

    def _describe(self, name: str, inputs: list[Tensor], output: Tensor, finite: bool) -> dict[str, Any]:
        module, place = None, None
        for frame in walk(sys._getframe(2)):
            if frame.f_code.co_name == "find_origin":
                break
            file = user_file(frame.f_code.co_filename)
            if place is None and file is not None:
                place = (file, frame.f_lineno)
            if module is None and frame.f_code.co_name == "_call_impl":
                module = self._names.get(id(frame.f_locals.get("self")))
        return {
            "op": name,
            "module": module,
            "place": place,
            "inputs_finite": finite,
            "row": first_row(~torch.isfinite(output), self._rows),
            "result": extremes(output),
            "values": [extremes(t) for t in inputs[:3]],
        }


def _has_nan(tensors: list[Tensor]) -> bool:
    return any(bool(torch.isnan(t).any()) for t in tensors)
