"""A logarithm of exactly zero: a hand-written loss, a probability that underflowed.

Source: Defect4ML 1, 3; SO 40192728.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.causes.origin import calm_before, origin


def weigh(case: Case) -> Iterator[Weight]:
    """The first non-finite value comes out of a logarithm whose input holds zeros."""
    first = origin(case)
    if (
        first is None
        or "log" not in first.op
        or "softmax" in first.op
        or "logsumexp" in first.op
        or "logit" in first.op
    ):
        return
    clean = first.fact.data.get("inputs_finite") is not False
    zero = first.fact.data.get("input_min")
    yield supports(
        DECISIVE if clean else STRONG,
        f"{first.sentence}: the logarithm of 0 is -inf",
        tool="gradient_debugger",
        subject=first.module,
        step=first.step,
        where=first.place,
        input_min=float(zero) if isinstance(zero, (int, float)) else None,
    )
    if calm_before(case, first.step):
        yield symptom(MODERATE, "gradients were calm before", step=first.step)
    else:
        yield against(MODERATE, "gradients grew before it: the zero may be a consequence")


CAUSE = Cause(
    id="numerics.log_zero",
    title="A logarithm meets exactly 0",
    phase="loss",
    repair="Work with log_softmax / logsigmoid (or the *_with_logits losses), or clamp the argument away from 0.",
    weigh=weigh,
    mistaken_for={
        "numerics.sqrt_at_zero_backward": "there the forward value is finite and only the gradient is not",
        "data.nan_or_inf_input": "there the batch itself is not finite",
    },
    explains=(
        "numerics.exploding_gradient",
        "numerics.divide_by_zero_scale",
        "optimizer.lr_too_high",
        "numerics.exp_overflow",
    ),
    intervention="clamp the argument",
    interventions=("away_from_singularity:1e-6",),
    next_measurement="the smallest argument of the logarithm per step",
    source="SO 40192728",
)
