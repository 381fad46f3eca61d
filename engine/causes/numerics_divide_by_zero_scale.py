"""A division by a spread, count or norm that is exactly zero.

Source: huggingface/trl PR 6671; pytorch/pytorch PR 71502.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.causes.origin import calm_before, origin

_DIVISIONS = ("div", "reciprocal", "rsqrt", "mean", "softmax", "normalize", "std", "var")


def weigh(case: Case) -> Iterator[Weight]:
    """The first non-finite value comes out of a quotient in forward whose operands were finite."""
    first = origin(case)
    if first is None or first.fact.data.get("masked") is True:
        return
    backward = first.where == "backward"
    if not any(name in first.op for name in _DIVISIONS) or (
        backward and "div" not in first.op and "rsqrt" not in first.op
    ):
        return
    yield supports(
        DECISIVE if first.fact.data.get("inputs_finite") is not False else STRONG,
        f"{first.sentence}: a division by 0",
        tool="layer_analyzer",
        subject=first.module,
        step=first.step,
        where=first.place,
    )
    if calm_before(case, first.step):
        yield symptom(MODERATE, "gradients were calm before", step=first.step)
    else:
        yield against(MODERATE, "gradients grew before it: the quotient may be a consequence")


CAUSE = Cause(
    id="numerics.divide_by_zero_scale",
    title="A division by a scale or count that is 0",
    phase="forward",
    repair="Clamp the divisor (clamp_min(eps), count.clamp(min=1)) or skip empty rows.",
    weigh=weigh,
    mistaken_for={
        "numerics.exp_overflow": "there an infinity arises before the quotient",
        "data.nan_or_inf_input": "there the batch arrives non-finite",
    },
    explains=("numerics.exploding_gradient", "optimizer.lr_too_high"),
    intervention="clamp the divisor",
    interventions=("away_from_singularity:1e-6",),
    next_measurement="the smallest divisor per step",
    source="pytorch/pytorch PR 71502",
)
