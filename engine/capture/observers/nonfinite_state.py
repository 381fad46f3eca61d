"""Parameters and optimizer state that are not finite, and the update that made them so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.observers.held import extremes

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_NAMES: Final = 50
SETTINGS: Final = ("lr", "eps", "weight_decay", "momentum")


def bad_parameters(recorder: Recorder, gradients: bool = False) -> list[str]:
    """Names of the parameters that hold NaN or Inf, or whose gradients do."""
    found = []
    for entry in recorder.registry.parameters:
        tensor = entry.ref()
        value = tensor.grad if gradients and tensor is not None else tensor
        if value is None or value.layout is not torch.strided or value.is_meta:
            continue
        if not bool(torch.isfinite(value.detach()).all()):
            found.append(entry.name)
    return found[:MAX_NAMES]


def bad_states(recorder: Recorder) -> list[str]:
    """Kinds of optimizer state that hold NaN or Inf, e.g. `exp_avg_sq`."""
    found = set()
    for entry in recorder.registry.optimizers.entries:
        optimizer = entry.ref()
        for state in (optimizer.state if optimizer is not None else {}).values():
            found |= {str(n) for n, v in state.items() if _floating(v) and not bool(torch.isfinite(v).all())}
    return sorted(found)


def update_of(recorder: Recorder, name: str) -> dict[str, Any]:
    """The optimizer that holds a spoiled parameter: class, settings, and state where the parameter is bad."""
    for entry in recorder.registry.parameters:
        tensor = entry.ref()
        if entry.name != name or tensor is None or not entry.held:
            continue
        holder = recorder.registry.optimizers.entries[min(entry.held)]
        optimizer = holder.ref()
        if optimizer is None:
            return {"op": holder.cls}
        state = {str(n): v for n, v in optimizer.state.get(tensor, {}).items() if _floating(v)}
        group = next((g for g in optimizer.param_groups if any(p is tensor for p in g["params"])), {})
        bad = ~torch.isfinite(tensor.detach())
        n_bad = int(bad.sum())
        data: dict[str, Any] = {"op": type(optimizer).__name__, "n_bad": n_bad, "n": bad.numel()}
        data["settings"] = {k: float(group[k]) for k in SETTINGS if isinstance(group.get(k), (int, float))}
        alike = {n: v for n, v in state.items() if v.shape == tensor.shape}
        spoiled = [~torch.isfinite(v) for v in alike.values()]
        if not n_bad:  # the state is spoiled and the parameter is not: an infinite divisor
            bad = torch.stack(spoiled).any(0) if spoiled else bad
        data["n_bad_state"] = max((int(b.sum()) for b in spoiled), default=0)
        data["values"] = [{"state": n, **extremes(v[bad])} for n, v in alike.items()]
        return data
    return {}


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.layout is torch.strided
