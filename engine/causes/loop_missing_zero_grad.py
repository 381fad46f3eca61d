"""Gradients are never cleared: every step uses the sum of all gradients so far.

Healthy twins: accumulation (cleared once per step), a GAN whose other network's leftovers are cleared before its own step.
Source: SO 60335387; TrainCheck.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Call, Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.networks import network, uncleared


def weigh(case: Case) -> Iterator[Weight]:
    """What was left of earlier steps in the gradient that entered the step, and whether anybody cleared it."""
    if case.n_steps < 3:
        return
    steps, carried = case.run.scalar("carried_grad_norm")
    _, total = case.run.scalar("grad_norm")
    rows = min(len(carried), len(total))
    leftover = (carried[:rows] > 0) & (total[:rows] > 0)
    share = float(leftover.mean()) if rows else 0.0
    cleared = case.steps_where(_cleared)
    n = sum(case.signatures.values())
    clear_share = cleared / n if n else 0.0
    if share < 0.5:
        return
    with np.errstate(all="ignore"):
        size = nanmedian((carried[:rows] / total[:rows])[leftover])
    first = int(steps[np.argmax(leftover)])
    if clear_share < 0.2:
        yield supports(
            DECISIVE,
            f"gradients of earlier steps were still there in {100 * share:.0f} % of the steps (they are "
            f"{100 * size:.0f} % of the norm that entered the step), and zero_grad cleared {cleared} of {n} steps",
            tool="gradient_debugger",
            step=first,
            carried_share=share,
            carried_size=size,
            steps_cleared=cleared,
            steps=n,
        )
    elif alone := next((u for u in uncleared(case) if len(u.roots) < 2), None):
        yield supports(
            DECISIVE,
            f"optimizer {alone.info.name} steps in {alone.steps} of {alone.total} iterations and its gradients are cleared in "
            f"{alone.clears}, those of the others are: what earlier steps left is {100 * size:.0f} % of the norm",
            tool="gradient_debugger",
            subject=network(case, alone.info.index),
            step=first,
            where=case.optimizer_place(alone.info.index),
            optimizer=alone.info.name,
            cleared=alone.clears,
            carried_size=size,
        )
    else:
        yield against(STRONG, f"zero_grad was called in {cleared} of {n} steps", steps_cleared=cleared)
        return
    if case.diverged:
        yield symptom(
            MODERATE, f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}", loss_last=case.loss.last
        )


def _cleared(calls: list[Call]) -> bool:
    return any(c.letter == "Z" for c in calls)


CAUSE = Cause(
    id="loop.missing_zero_grad",
    title="Gradients are never zeroed, so each step applies the sum of all earlier gradients",
    phase="loop",
    repair="Call optimizer.zero_grad() before each backward.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the gradient that enters the step is the batch's own",
        "loop.accumulation_not_normalized": "there gradients are cleared after every k-th batch",
        "graph.gradient_leak_between_networks": "there only one network keeps the other's gradients",
    },
    explains=(
        "optimizer.lr_too_high",
        "numerics.exploding_gradient",
        "model.dead_units",
        "model.saturated_units",
        "graph.gradient_leak_between_networks",
        "numerics.exp_overflow",
        "numerics.log_zero",
    ),
    intervention="zero the gradients before each backward",
    interventions=("zero_gradients",),
    next_measurement="the gradient before the first backward of a step",
    source="SO 60335387",
)
