"""Names of modules and parameters: dotted paths, wrappers taken off, modules that hide in plain lists."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

WRAPPERS: Final = frozenset({"OptimizedModule", "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"})
"""Classes around a model; the user thinks of what is inside."""


def clean_path(path: str) -> str:
    """A dotted path without the parts that wrappers add."""
    path = path.replace("_orig_mod.", "")
    return "" if path == "_orig_mod" else path


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's model inside compile and data-parallel wrappers."""
    while type(module).__name__ in WRAPPERS:
        inner = getattr(module, "_orig_mod", None) or getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            break
        module = inner
    return module


def holds_modules(module: nn.Module) -> bool:
    """Whether a module without parameters keeps modules that have some in plain lists or dictionaries."""
    for value in vars(module).values():
        items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        if any(isinstance(x, nn.Module) and next(x.parameters(), None) is not None for x in items):
            return True
    return False


def place_in(parent: nn.Module, module: nn.Module) -> str | None:
    """Attribute path of a module inside a plain list, tuple or dictionary of its parent."""
    for attribute, value in vars(parent).items():
        if value is module:
            return attribute
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
        )
        if attribute in {"_modules", "_parameters", "_buffers"}:
            continue
        for key, item in items:
            if item is module:
                return f"{attribute}.{key}"
            if isinstance(item, nn.Module):
                for path, part in item.named_modules():
                    if part is module:
                        return f"{attribute}.{key}.{path}"
    return None


def numel(parameter: Tensor) -> int:
    """Number of entries; a lazy parameter has none before its first forward."""
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else parameter.numel()


def free(name: str, taken: set[str]) -> str:
    n, free = 1, name
    while free in taken:
        n += 1
        free = f"{name}#{n}"
    taken.add(free)
    return free
