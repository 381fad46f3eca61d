"""Operations whose value or slope is infinite somewhere, found in an autograd graph by what their nodes have saved."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from aitia.engine.capture.observers.base import LINE_MARK

MAX_NODES: Final = 20_000
MAX_FOUND: Final = 12
"""Singular nodes followed at each step; those nearest to the loss come first."""
SAVED: Final = {
    "SqrtBackward0": "_saved_result",
    "RsqrtBackward0": "_saved_result",
    "ReciprocalBackward0": "_saved_result",
    "ExpBackward0": "_saved_result",
    "LogBackward0": "_saved_self",
    "Log2Backward0": "_saved_self",
    "Log10Backward0": "_saved_self",
    "Log1PBackward0": "_saved_self",
    "PowBackward0": "_saved_self",
    "DivBackward0": "_saved_other",
    "AcosBackward0": "_saved_self",
    "AsinBackward0": "_saved_self",
    "AcoshBackward0": "_saved_self",
    "XlogyBackward0": "_saved_self",
}
"""Node and the tensor in it that tells whether the operation was at its singular place."""


@dataclass(frozen=True)
class Singular:
    """One such node: how to reach it from the root, and what is known of it."""

    op: str
    path: tuple[int, ...]
    place: tuple[str, int] | None
    masked: bool
    """A `where` or a mask stands between it and the loss."""
    exponent: float | None = None


def find(root: Any) -> list[Singular]:
    """Walk the graph below a root node; nearest to the root first."""
    found: list[Singular] = []
    queue: deque[tuple[Any, tuple[int, ...], bool]] = deque([(root, (), False)])
    seen = {root}
    while queue and len(seen) < MAX_NODES and len(found) < MAX_FOUND:
        node, path, masked = queue.popleft()
        name = node.name()
        if name in SAVED and _matters(node, name):
            exponent = getattr(node, "_saved_exponent", None) if name == "PowBackward0" else None
            place = node.metadata.get(LINE_MARK)
            found.append(Singular(name, path, place, masked, float(exponent) if exponent is not None else None))
        masked = masked or hides(name)
        for i, (following, _) in enumerate(node.next_functions):
            if following is not None and following not in seen:
                seen.add(following)
                queue.append((following, (*path, i), masked))
    return found


def hides(name: str) -> bool:
    """Whether a node of this name lets only a part of its operand through to the loss."""
    return name.startswith(("Where", "MaskedFill", "MaskedSelect", "IndexPut"))


def follow(root: Any, singular: Singular) -> Any:
    """The node at the same place in another step's graph; None where the graph is built differently."""
    node = root
    for i in singular.path:
        following = node.next_functions
        if i >= len(following) or following[i][0] is None:
            return None
        node = following[i][0]
    return node if node.name() == singular.op else None


def saved(node: Any) -> Tensor | None:
    """What the node kept of its operation, or None when it was freed or changed in place."""
    try:
        value = getattr(node, SAVED[node.name()], None)
    except RuntimeError:
        return None
    return value.detach() if isinstance(value, Tensor) else None


def _matters(node: Any, name: str) -> bool:
    if name == "PowBackward0":
        exponent = getattr(node, "_saved_exponent", 2.0)
        return isinstance(exponent, (int, float)) and exponent < 1  # x², x³ are harmless at 0
    if name == "DivBackward0":
        value = saved(node)
        return value is not None and ((value.is_floating_point() and value.numel() > 1) or _from_tensor(value))
    return True


def _from_tensor(value: Tensor | None) -> bool:
    """A divisor that was computed; plain numbers are wrapped as float64 scalars or integers."""
    return value is not None and value.dim() == 0 and value.dtype in {torch.float32, torch.float16, torch.bfloat16}


def at_singularity(op: str, value: Tensor, exponent: float | None = None) -> Tensor:
    """Where the operation has an infinite value or slope, as a boolean tensor."""
    if op in {"RsqrtBackward0", "ReciprocalBackward0", "ExpBackward0"}:
        return torch.isinf(value)
    if op in {"AcosBackward0", "AsinBackward0"}:
        return value.abs() >= 1
    if op == "SqrtBackward0":
        return (value == 0) | torch.isnan(value)  # the root of a negative number, hidden by a mask
    if op == "PowBackward0" and exponent is not None and not float(exponent).is_integer():
        return value <= 0
    if op in {"DivBackward0", "XlogyBackward0", "PowBackward0"}:
        return (value == 0) & (exponent != 0)
    return value <= {"Log1PBackward0": -1, "AcoshBackward0": 1}.get(op, 0)
