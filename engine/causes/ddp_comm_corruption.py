"""A collective delivered different numbers to the ranks: hardware or driver, not the program

Source: pytorch/pytorch#84803; pytorch/pytorch#96600.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

RARE = 0.2
"""Share of steps: a program that does something wrong does it more often."""


def weigh(case: Case) -> Iterator[Weight]:
    """Averaged gradients that are the same on all ranks but for single steps."""
    group = case.ranks
    if group is None or not group.alike or not all(group.use("wrapped")):
        return
    gradient = group.difference("grad_norm")
    if gradient is None or gradient.first is None or len(gradient.steps) < 10:
        return
    bad = gradient.steps[gradient.at]
    if len(bad) > RARE * len(gradient.steps):
        return
    gap = float(gradient.gap.max())
    yield supports(
        STRONG,
        f"averaged gradients differ between ranks at {len(bad)} of {len(gradient.steps)} steps (first at {gradient.first}, by up "
        f"to {gap:.1%}) and are the same at all others",
        tool="gradient_debugger",
        step=gradient.first,
        n=len(bad),
        gap=gap,
    )
    drift = group.difference("weight_norm")
    if drift is not None and drift.first is not None and drift.first >= gradient.first:
        share = float(np.mean(drift.at))
        yield symptom(
            MODERATE, f"weights drift apart right then (at {share:.0%} of the steps compared)", step=drift.first
        )


CAUSE = Cause(
    id="ddp.comm_corruption",
    title="A collective delivered different numbers to the ranks",
    phase="backward",
    repair="Run the communication test of the hardware's vendor; replace the link, the device or the driver.",
    weigh=weigh,
    mistaken_for={
        "ddp.hooks_lost_after_move": "there gradients differ from one step on without end",
    },
    explains=("ddp.metric_not_reduced",),
    intervention="repeat the step on other devices",
    next_measurement="checksums after every collective on every rank",
    source="pytorch/pytorch#84803; pytorch/pytorch#96600",
)
