"""The slope of a root (or norm, or standard deviation) at zero is infinite: forward is fine, backward is not.

Source: pytorch/pytorch#187297.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom
from aitia.engine.causes.origin import calm_before, origin

_ROOTS = ("sqrt", "norm", "std", "cdist", "dist", "pow", "acos", "asin", "atan2")
"""Operations with an infinite slope at a value they accept."""
_NORMS = ("layernorm", "layer_norm", "batchnorm", "batch_norm", "groupnorm", "group_norm")
"""Layers whose names contain `norm` and that carry their own eps."""


def weigh(case: Case) -> Iterator[Weight]:
    """A finite loss, and a first non-finite gradient in the backward of a root whose result was zero."""
    first = origin(case)
    if first is None or first.where != "backward" or first.fact.data.get("masked") is True:
        return
    if not any(r in first.op for r in _ROOTS) or any(n in first.op for n in _NORMS):
        return
    yield supports(
        DECISIVE,
        f"{first.sentence}: its slope at 0 is infinite, while the loss of that step is finite",
        tool="gradient_debugger",
        subject=first.module,
        step=first.step,
        where=first.place,
    )
    if calm_before(case, first.step):
        yield symptom(MODERATE, "gradients were calm before", step=first.step)


CAUSE = Cause(
    id="numerics.sqrt_at_zero_backward",
    title="The gradient of a square root (norm, standard deviation) is infinite at 0",
    phase="backward",
    repair="Add a small eps inside the root: sqrt(x + 1e-12), (x*x).sum().add(eps).sqrt().",
    weigh=weigh,
    mistaken_for={
        "numerics.log_zero": "there the forward value is already infinite",
        "numerics.exploding_gradient": "there the norm grows over many steps",
        "numerics.masked_branch_nan": "there a torch.where hides the singular branch in forward",
    },
    explains=("numerics.exploding_gradient", "optimizer.lr_too_high"),
    intervention="add eps under the root",
    interventions=("away_from_singularity:1e-6",),
    next_measurement="the smallest argument of the root per step",
    source="pytorch/pytorch#187297",
)
