"""Gradients are computed, and no optimizer step ever uses them.

Source: pytorch/pytorch#3814.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports
from aitia.engine.signature import passed_over

MANY = 5
"""Backward calls without a step before it counts: short accumulation is normal."""


def weigh(case: Case) -> Iterator[Weight]:
    """Counts of calls: backward many, step none; of several optimizers, one after whose backward none steps."""
    yield from _one_of_several(case)
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


def _one_of_several(case: Case) -> Iterator[Weight]:
    if len(case.run.optimizers) < 2 or case.n_steps < MANY:
        return
    stepped = set(case.run.table("group")["optimizer"].astype(int).tolist())
    for info in case.run.optimizers:
        own = [p for p in case.run.parameters if set(p.optimizers) == {info.index}]
        times = case.steps_where(lambda calls, index=info.index: passed_over(calls, index))
        if info.index in stepped or times < MANY or not any(case.graded(p.index) for p in own):
            continue
        yield supports(
            DECISIVE,
            f"optimizer {info.name} clears its gradients, they are computed, and no optimizer steps before they are "
            f"cleared again: in {times} of {case.n_steps} iterations",
            tool="gradient_debugger",
            subject=case.owner(own[0].name),
            step=1,
            where=case.optimizer_place(info.index),
            optimizer=info.name,
            times=times,
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
