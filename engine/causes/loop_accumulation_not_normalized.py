"""Gradients of k batches are summed where their mean was meant: k times the rate.

Healthy twin: loss / k before backward.
Source: karpathy/nanoGPT#206; rwth-i6/returnn#1379.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Backward passes per step, and the root of backward against the value of the loss function."""
    _, n_backward = case.run.scalar("n_backward")
    k = nanmedian(n_backward)
    if not k >= 2 or case.n_steps < 5 or len(case.run.optimizers) > 1:
        return
    if case.wiped > 0.5 * case.n_backward:
        return  # cleared before each backward: nothing is summed
    ratio = _root_over_value(case)
    if ratio is None:
        return
    if ratio < 1.5 / k:
        yield against(
            STRONG, f"the loss is divided before backward (root / value = {ratio:.2g}, k = {k:.0f})", ratio=ratio
        )
        return
    if not 0.9 < ratio < 1.1:
        return
    # a fall from a height that the first, far too long steps made is no learning
    thrown = case.overshoots and case.loss.first > case.loss.start > 0
    suffers = case.diverged or not case.learned or case.nonfinite_step is not None or thrown
    yield supports(
        STRONG + WEAK if suffers else WEAK,
        f"each step sums the gradients of {k:.0f} backward passes whose losses are not divided by {k:.0f}",
        tool="gradient_debugger",
        step=1,
        where=case.site_place(),
        k=k,
        ratio=ratio,
    )
    if suffers:
        yield symptom(
            MODERATE, f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}", loss_last=case.loss.last
        )


def _root_over_value(case: Case) -> float | None:
    """Median of backward root over loss-function value, where a step had as many of one as of the other."""
    back, calls = case.run.table("backward"), case.calls(grad=True)
    n = min(len(back["loss"]), len(calls["value"]))
    if n < 4 or abs(len(back["loss"]) - len(calls["value"])) > 0.1 * n:
        return None
    with np.errstate(all="ignore"):
        return nanmedian(back["loss"][:n] / calls["value"][:n])


CAUSE = Cause(
    id="loop.accumulation_not_normalized",
    title="Accumulated gradients are summed instead of averaged, which multiplies the learning rate",
    phase="loop",
    repair="Divide the loss by the number of accumulation steps before backward.",
    weigh=weigh,
    mistaken_for={
        "loop.missing_zero_grad": "there gradients are never cleared",
        "optimizer.lr_too_high": "there one backward pass makes one step",
    },
    explains=("optimizer.lr_too_high", "numerics.exploding_gradient", "model.dead_units"),
    intervention="divide the gradient by k before the step",
    next_measurement="gradient norm with loss / k",
    source="karpathy/nanoGPT#206",
)
