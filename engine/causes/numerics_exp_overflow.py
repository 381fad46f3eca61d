"""An exponential of a large number overflows: a softmax without its shift, exp of an unbounded log-variance.

Source: TheDeepChecker.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, against, supports, symptom
from aitia.engine.causes.origin import calm_before, origin


def weigh(case: Case) -> Iterator[Weight]:
    """The first non-finite value comes out of an exponential, or of a quotient right after one."""
    first = origin(case)
    if first is None or not any(name in first.op for name in ("exp", "cosh", "sinh")) or "expand" in first.op:
        return
    largest = first.fact.data.get("input_max")
    yield supports(
        DECISIVE,
        f"{first.sentence}: the exponential overflows"
        + (f" (argument up to {float(largest):.3g})" if isinstance(largest, (int, float)) else ""),
        tool="gradient_debugger",
        subject=first.module,
        step=first.step,
        where=first.place,
        input_max=float(largest) if isinstance(largest, (int, float)) else None,
    )
    if calm_before(case, first.step):
        yield symptom(MODERATE, "gradients were calm before", step=first.step)
    else:
        yield against(MODERATE, "gradients grew before it: the overflow may be a consequence")


CAUSE = Cause(
    id="numerics.exp_overflow",
    title="An exponential overflows",
    phase="forward",
    repair="Use the stable form (softmax, logsumexp, subtract the maximum) or clamp the argument.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_high": "there large updates make the argument grow first"},
    explains=("numerics.divide_by_zero_scale", "numerics.exploding_gradient", "numerics.log_zero"),
    intervention="clamp the argument at 50",
    interventions=("away_from_singularity:1e-6",),
    next_measurement="the largest argument of the exponential per step",
    source="TheDeepChecker",
)
