"""A schedule counted in epochs is stepped with every batch: the rate is gone after a few dozen steps.

Healthy twins: one-cycle, warm-up and cosine schedules whose horizon is in steps.
Source: leftthomas/SRGAN#1; pytorch/tutorials PR 640.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom

GONE = 0.01
"""Below a hundredth of its highest value the rate no longer trains."""

LOW = 0.2
"""A drop to this share of the rate ends fast learning."""
CONVERGED = 0.5
"""A loss below half of its first value made good use of the rate it had."""
EARLY = 0.1
"""Share of a run in which no schedule is meant to end; a warm-up would rise."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the run spent without a usable rate, and how often the scheduler stepped."""
    steps, lr = case.run.scalar("lr")
    ok = np.isfinite(lr)
    steps, lr = steps[ok], lr[ok]
    rates = case.run.facts("scheduler_rate")
    per_step = max((float(f.data.get("steps_per_optimizer_step") or 0.0) for f in rates), default=0.0)
    if len(lr) < 20 or not rates or per_step < 0.5 or lr.max() <= 0:
        return
    top = float(lr.max())
    at_top = int(np.argmax(lr))
    dead = lr[at_top:] < GONE * top
    share = float(dead.sum() / len(lr))
    if share < 0.4:
        yield from _early_drop(case, lr, per_step)
        return
    when = int(steps[at_top:][np.argmax(dead)])
    built = case.run.fact("scheduler_built")
    name = str(built.data.get("cls", "the scheduler")) if built else "the scheduler"
    stepped = next((case.place(f) for f in rates if f.file), None)
    yield supports(
        DECISIVE,
        f"{name} steps {per_step:.2g} times per optimizer step; the rate fell from {top:.3g} to {lr[-1]:.2g} and was under "
        f"1 % of its peak from step {when} on, {100 * share:.0f} % of the run",
        tool="gradient_debugger",
        step=when,
        where=stepped or case.place(built),
        steps_per_optimizer_step=per_step,
        lr_first=top,
        lr_last=float(lr[-1]),
        dead_share=share,
    )
    _, norm = case.run.scalar("grad_norm")
    late = norm[-max(3, len(norm) // 4) :]
    if np.isfinite(late).any() and np.nanmedian(late) > 0 and not case.learned:
        yield symptom(
            MODERATE,
            f"the gradient is still there at the end (norm {np.nanmedian(late):.3g}): there was more to learn",
            grad_norm=float(np.nanmedian(late)),
        )
    if case.learned and case.loss.last < 0.1 * abs(case.loss.first):
        yield against(STRONG, "the loss had already converged", loss_last=case.loss.last)


def _early_drop(case: Case, lr: Floats, per_step: float) -> Iterator[Weight]:
    """All marks of a schedule passed in the first steps: they were meant as epochs."""
    top = float(lr.max())
    low = lr < LOW * top
    if not low.any() or case.loss.last < CONVERGED * case.loss.first:
        return
    first = int(np.argmax(low))
    if first > EARLY * len(lr) or not low[first:].all():
        return
    rates = case.run.facts("scheduler_rate")
    yield supports(
        STRONG + MODERATE,
        f"the scheduler steps {per_step:.2g} times per optimizer step; the rate fell from {top:.3g} to {lr[first]:.2g} within "
        f"{first + 1} of {len(lr)} steps and stayed there, while the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}",
        tool="gradient_debugger",
        step=first + 1,
        where=next((case.place(f) for f in rates if f.file), None) or case.place(case.run.fact("scheduler_built")),
        steps_per_optimizer_step=per_step,
        lr_first=top,
        lr_last=float(lr[-1]),
    )


CAUSE = Cause(
    id="scheduler.stepped_per_batch",
    title="A schedule meant for epochs is stepped with every batch, so the learning rate vanishes",
    phase="scheduler",
    repair="Call scheduler.step() once per epoch, outside the batch loop (or give the schedule its horizon in steps).",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_low": "there the rate is low from the first step",
        "scheduler.wrong_horizon": "there the scheduler steps in the right unit and only its length is off",
    },
    explains=("optimizer.lr_too_low", "eval.underfit_stopped_early", "scheduler.wrong_horizon"),
    intervention="skip the scheduler",
    interventions=("constant_rate",),
    next_measurement="the learning rate at every step",
    source="pytorch/tutorials PR 640",
)
