"""Gradients are computed, and no optimizer step ever uses them.

Source: pytorch/pytorch#3814.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

MANY = 5
"""Backward calls without a step before it counts: short accumulation is normal."""


def weigh(case: Case) -> Iterator[Weight]:
    """Counts of calls: backward many, step none."""
    if case.n_steps > 0 or case.n_backward < MANY:
        return
    if not case.run.optimizers and not case.run.facts("optimizer_built"):
        return  # a loop that updates by hand
    yield supports(
        DECISIVE,
        f"backward ran {case.n_backward} times and optimizer.step never",
        tool="gradient_debugger",
        step=1,
        where=case.optimizer_place(),
        n_backward=case.n_backward,
        n_steps=0,
    )


CAUSE = Cause(
    id="optimizer.never_stepped",
    title="optimizer.step() is never called",
    phase="step",
    repair="Call optimizer.step() after backward.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there steps are taken, and are tiny"},
    explains=("eval.underfit_stopped_early", "loop.missing_zero_grad"),
    intervention="call step after each backward",
    interventions=("step_after_backward",),
    next_measurement="count of optimizer steps",
    source="pytorch/pytorch#3814",
)
