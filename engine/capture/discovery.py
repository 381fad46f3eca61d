"""Finding what the user calls things: models and optimizers in the variables of the frames that are running."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from types import FrameType, ModuleType
from typing import Any, Final

import torch
from torch import nn

from aitia.engine.capture.frames import MAX_MODULE_DEPTH, user_frames

MAX_NAMES: Final = 2000
"""Variables of a frame that are looked at; a notebook after a long day has fewer."""
MAX_ITEMS: Final = 64
"""Items of a list or dictionary of models that are looked at."""
_LOOKS_AT_LOCALS: Final = frozenset({"locals", "vars"})
_DULL: Final = frozenset({"self", "cls", "m", "_", "module", "mod", "layer", "net_", "args", "kwargs"})
"""Names that tell less than the class's own name."""


@dataclass(frozen=True)
class Found:
    """A thing that a variable of the user holds."""

    name: str
    thing: Any


def _variables(frame: FrameType) -> dict[str, Any]:
    """A frame's variables, leaving no reference behind.

    Up to Python 3.12 `f_locals` of a function is a snapshot that lives as long as the call, and it would keep the
    first batch's graph alive; it is copied and emptied. Where the program itself may hold it, nothing is read.
    """
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a module or a class body: its variables are no snapshot
        return dict(frame.f_locals)
    if sys.version_info >= (3, 13):
        return dict(frame.f_locals)
    if _LOOKS_AT_LOCALS.intersection(frame.f_code.co_names):
        return {}
    snapshot = frame.f_locals
    copy = dict(snapshot)
    snapshot.clear()
    return copy


def things(kind: type | tuple[type, ...]) -> Iterator[Found]:
    """Objects of this type that the running frames of the user hold, innermost first, attributes one level deep."""
    seen_globals: set[int] = set()
    for frame, _ in islice(user_frames(2), MAX_MODULE_DEPTH):
        yield from _in(_variables(frame), kind)
        if id(frame.f_globals) not in seen_globals and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            seen_globals.add(id(frame.f_globals))
            yield from _in(dict(frame.f_globals), kind)


def _in(variables: dict[str, Any], kind: type | tuple[type, ...]) -> Iterator[Found]:
    for count, (name, value) in enumerate(variables.items()):
        if count >= MAX_NAMES or name.startswith("__"):
            continue
        if isinstance(value, kind):
            yield Found(name, value)
        elif isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS:
            yield from (Found(f"{name}.{i}", x) for i, x in enumerate(value) if isinstance(x, kind))
        elif isinstance(value, dict) and len(value) <= MAX_ITEMS:
            yield from (Found(f"{name}.{k}", x) for k, x in list(value.items()) if isinstance(x, kind))
        else:
            # Parameters, submodules and the like of a module are found through its own tree, not here.
            for attribute, x in list(_attributes(value).items())[:MAX_ITEMS]:
                if isinstance(x, kind):
                    yield Found(attribute, x)


def _attributes(value: Any) -> dict[str, Any]:
    """What an object of a class of the user's holds; no code of the object runs for it."""
    if isinstance(value, (type, ModuleType, nn.Module, torch.Tensor, torch.optim.Optimizer)):
        return {}
    home = type(value).__module__ or ""
    if home.split(".")[0] in {"builtins", "torch", "numpy", "pandas", "sklearn", "aitia"}:
        return {}
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return own if isinstance(own, dict) else {}


def variable_of(thing: Any, kind: type) -> str | None:
    """The user's name for this very object."""
    fallback = None
    for found in things(kind):
        if found.thing is thing:
            if found.name not in _DULL:
                return found.name
            fallback = found.name
    return None if fallback in _DULL else fallback


def whole_model(module: nn.Module) -> tuple[nn.Module, str | None]:
    """The largest module held by a variable that contains this one (itself if none does), and that variable's name."""
    best, name, size = module, None, sum(1 for _ in module.modules())
    for found in things(nn.Module):
        candidate = found.thing
        if candidate is best:
            if name is None and found.name not in _DULL:
                name = found.name
            continue
        inside = list(candidate.modules())
        if len(inside) > size and any(m is module for m in inside):
            best, size = candidate, len(inside)
            name = found.name if found.name not in _DULL else None
    return best, name


def parameter_names() -> dict[int, tuple[str, Any]]:
    """Names of all parameters of the modules in sight, by identity; longer paths (the whole model's) win."""
    names: dict[int, tuple[str, Any]] = {}
    for found in things(nn.Module):
        for name, parameter in found.thing.named_parameters():
            known = names.get(id(parameter))
            if known is None or name.count(".") > known[0].count("."):
                names[id(parameter)] = (name, parameter)
    return names
