"""Clipping is called before backward: it cuts old or no gradients, and the fresh ones pass unclipped.

Source: nano-world-model PR 22.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Call, Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Order C … B … S with no clipping after the last backward."""
    n = sum(case.signatures.values())
    early = case.steps_where(clipped_too_early)
    if n < 3 or early < 0.5 * n:
        return
    fact = next((f for f in case.run.facts("clip") if f.data.get("before_backward")), case.run.fact("clip"))
    yield supports(
        DECISIVE,
        f"in {early} of {n} steps the gradients were clipped before backward and not after it",
        tool="gradient_debugger",
        step=1,
        where=case.place(fact),
        steps=n,
        too_early=early,
    )
    _, norm = case.run.scalar("grad_norm")
    _, limit = case.run.scalar("clip_max")
    with np.errstate(all="ignore"):
        over = float(np.nanmean(norm > 1.01 * limit)) if np.isfinite(limit).any() else 0.0
    if over > 0.1:
        yield symptom(
            MODERATE,
            f"the gradient that entered the step was above max_norm in {100 * over:.0f} % of the steps",
            over_share=over,
        )


def clipped_too_early(calls: list[Call]) -> bool:
    """True when a clip call precedes the last backward and none follows it."""
    last_b = max((i for i, c in enumerate(calls) if c.letter == "B"), default=-1)
    clips = [i for i, c in enumerate(calls) if c.letter == "C"]
    return last_b >= 0 and bool(clips) and max(clips) < last_b


CAUSE = Cause(
    id="loop.clip_before_backward",
    title="Gradient clipping runs before backward, so it has no effect",
    phase="loop",
    repair="Clip after backward and before step.",
    weigh=weigh,
    mistaken_for={"numerics.exploding_gradient": "there no clipping is attempted"},
    explains=("numerics.exploding_gradient", "optimizer.lr_too_high"),
    intervention="clip after backward",
    next_measurement="gradient norm at the step against max_norm",
    source="nano-world-model PR 22",
)
