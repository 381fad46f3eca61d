"""The summands of a loss: what each is made of, what it is multiplied by, and over how much it is summed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch

from aitia.engine.capture.observers.base import SITE_MARK

MAX_TERMS: Final = 64
"""One for every step of a short sequence, and a few penalties."""
BELOW: Final = 5
"""Operations told below a term that no loss function made: enough to tell a likelihood from an error."""

SHAPES: Final = frozenset(
    {
        "ViewBackward0",
        "UnsafeViewBackward0",
        "ReshapeAliasBackward0",
        "TransposeBackward0",
        "TBackward0",
        "PermuteBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "SqueezeBackward2",
        "UnsqueezeBackward0",
        "SelectBackward0",
        "SliceBackward0",
        "ExpandBackward0",
        "CloneBackward0",
        "AliasBackward0",
        "ToCopyBackward0",
        "IndexBackward0",
        "CatBackward0",
        "StackBackward0",
    }
)
"""Operations that only move or copy values; they are skipped where one asks what comes before."""
_MOVES: Final = SHAPES | {"GatherBackward0", "MaskedSelectBackward0", "TakeBackward0"}
"""Operations that pick or move the entries of a loss."""


def terms(loss: torch.Tensor) -> list[dict[str, Any]]:
    """The summands of a loss. Each has `site` (-1: no loss function made it), `op`, `factor` (by what its value is
    multiplied), `weight` (how many times the mean over its entries counts: 1 for a mean, n for a sum over n entries),
    `below` (operations it is made of, where no loss function made it), `cut` (share of the entries above a clamp) and
    `mixed` (it is multiplied by numbers of both signs, as the score of a policy gradient is)."""
    found: list[dict[str, Any]] = []
    stack: list[tuple[Any, float, float, bool]] = [(loss.grad_fn, 1.0, float(loss.numel()), False)]
    while stack and len(found) < MAX_TERMS:
        node, factor, weight, mixed = stack.pop()
        told = {"factor": factor, "weight": weight, **({"mixed": True} if mixed else {})}
        if SITE_MARK in node.metadata:
            found.append({"site": int(node.metadata[SITE_MARK]), "op": node.name(), **told})
            continue
        inputs = [f for f, _ in node.next_functions]
        steps = None if _is_even_power(node) else _factors(node, len(inputs))
        if steps is None:
            cut = _cut(node)
            told |= {} if cut is None else {"cut": cut}
            found.append({"site": -1, "op": node.name(), **told, "below": list(_below(node))})
            continue
        if node.name().startswith(("Add", "Sub")) and any(f is None for f in inputs):
            # a number, or a term that no gradient flows into
            found.append({"site": -1, "op": "constant", "factor": factor, "weight": weight})
        n = _summed(node)
        for following, (sign, size) in zip(inputs, steps, strict=True):
            if following is not None:
                mixed = mixed or math.isnan(sign)
                step = 1.0 if math.isnan(sign) else sign
                stack.append((following, factor * step, weight * math.copysign(size, step) * n, mixed))
    return found


def _cut(node: Any) -> float | None:
    """Share of the entries that a clamp holds down: no gradient flows through them. None for all that is no clamp."""
    if not node.name().startswith(("ClampBackward", "ClampMaxBackward", "HardtanhBackward")):
        return None
    try:
        values = getattr(node, "_saved_self", None)
        highest = getattr(node, "_saved_max", getattr(node, "_saved_max_val", None))
    except RuntimeError:  # freed, or changed in place
        return None
    if not isinstance(values, torch.Tensor) or not isinstance(highest, (int, float)) or not values.numel():
        return None
    return round(float((values.detach() > highest).float().mean()), 2)


def _is_even_power(node: Any) -> bool:
    return node.name() == "PowBackward0" and getattr(node, "_saved_exponent", 1) != 1


def _below(node: Any) -> Iterator[str]:
    """The operation, then what it is made of along first inputs, shapes aside; an even power is named as such."""
    told = 0
    while node is not None and told < BELOW:
        name = node.name().rpartition("::")[2]
        if name not in _MOVES:
            told += 1
            exponent = getattr(node, "_saved_exponent", None) if name == "PowBackward0" else None
            yield "Square" if isinstance(exponent, (int, float)) and exponent % 2 == 0 else name
        node = next((f for f, _ in node.next_functions if f is not None), None)


def _summed(node: Any) -> float:
    """Over how many entries a node sums; 1 for all others, a mean among them."""
    name = node.name()
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if not name.startswith("SumBackward") or sizes is None:
        return 1.0
    sizes = [int(n) for n in sizes]
    dims = getattr(node, "_saved_dim", None)
    if name == "SumBackward0" or not dims:
        return float(math.prod(sizes))
    signed = [d - (1 << 64) if d >= 1 << 63 else d for d in dims]
    return float(math.prod(sizes[d] for d in signed))


def _factors(node: Any, n: int) -> list[tuple[float, float]] | None:
    """By what a node multiplies each of its inputs, as (factor, size); None where it is no sum or multiple.

    Of many numbers the factor is their sign (NaN: they have both), the size their mean.
    """
    name = node.name()
    if name in _MOVES or name.startswith(("AddBackward", "SumBackward", "MeanBackward")):
        return [(1.0, 1.0)] * n
    if name.startswith("SubBackward"):
        alpha = float(getattr(node, "_saved_alpha", 1.0))
        return [(1.0, 1.0), (-alpha, abs(alpha))][:n]
    if name.startswith(("NegBackward", "RsubBackward")):
        return [(-1.0, 1.0), *[(1.0, 1.0)] * (n - 1)]
    if name.startswith(("MulBackward", "DivBackward")):
        other = _constant(node, name)
        if other is not None:
            return [_multiple(other, over=name.startswith("Div"))] * n
    return None


def _constant(node: Any, name: str) -> torch.Tensor | None:
    """The other factor of a product or the divisor, where no gradient flows into it."""
    try:
        other = getattr(node, "_saved_other", None)
        if other is None and name.startswith("MulBackward"):
            other = getattr(node, "_saved_self", None)
    except RuntimeError:  # it was changed in place, or freed: what it was cannot be known
        return None
    if not isinstance(other, torch.Tensor) or other.requires_grad or other.is_meta or other.is_complex():
        return None
    return other if other.numel() else None


def _multiple(other: torch.Tensor, *, over: bool) -> tuple[float, float]:
    if other.numel() == 1:
        value = float(other)
        if over:
            value = 1 / value if value else math.inf
        return value, abs(value)
    numbers = other.detach().to(torch.float32)
    low, high = (float(v) for v in torch.aminmax(numbers))
    size = float(numbers.abs().mean())
    size = (1 / size if size else math.inf) if over else size
    return (1.0 if low >= 0 else -1.0 if high <= 0 else math.nan), size
