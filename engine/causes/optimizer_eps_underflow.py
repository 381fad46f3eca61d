"""An epsilon that is zero in half precision: the first step divides by zero.

Source: afiaka87/glide-finetune#5; pytorch/pytorch#8860.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

SMALLEST_HALF = 6e-8
"""Smallest positive float16 (2^-24): anything below rounds to 0."""


def weigh(case: Case) -> Iterator[Weight]:
    """float16 parameters, an Adam-like eps below what float16 can hold, and parameters non-finite after a step."""
    half = [p for p in case.trainable if p.dtype == "float16" and p.optimizers]
    if not half or case.nonfinite_step is None:
        return
    eps = [float(g["eps"]) for o in case.run.optimizers for g in o.groups if isinstance(g.get("eps"), (int, float))]
    if eps and min(eps) < SMALLEST_HALF:
        yield supports(
            DECISIVE,
            f"eps = {min(eps):.0e} is 0 in float16, so the update divides by sqrt(v) = 0 for small gradients; "
            f"values became non-finite at step {case.nonfinite_step}",
            tool="gradient_debugger",
            subject=half[0].name,
            step=case.nonfinite_step,
            where=case.optimizer_place(),
            eps=min(eps),
            nonfinite_step=case.nonfinite_step,
        )
        if case.nonfinite_step <= 3:
            yield symptom(MODERATE, "it struck within the first steps", step=case.nonfinite_step)


CAUSE = Cause(
    id="optimizer.eps_underflow",
    title="The optimizer's eps underflows to zero in half precision",
    phase="step",
    repair="Keep parameters and optimizer state in float32 (autocast for the compute), or set eps to 1e-4.",
    weigh=weigh,
    explains=(
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "numerics.exp_overflow",
        "numerics.divide_by_zero_scale",
        "amp.no_scaler_underflow",
        "init.uninitialized_memory",
    ),
    intervention="eps = 1e-4",
    interventions=("larger_epsilon:1e-4",),
    next_measurement="dtype of parameters and optimizer state",
    source="pytorch/pytorch#8860",
)
