"""The gradient norm grows step by step until it overflows, and nothing upstream explains it.

Source: SO 53848232; Deep Learning Tuning Playbook.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Growth of the gradient norm over orders of magnitude, and depth or recurrence as its ground."""
    steps, norm = case.run.scalar("grad_norm")
    ok = np.isfinite(norm) & (norm > 0)
    if ok.sum() < 3 or case.learned:
        return
    values = norm[ok]
    start = float(np.median(values[: max(2, len(values) // 10)]))
    peak = float(values.max())
    growth = peak / max(start, 1e-12)
    recurrent = bool(case.kinds("rnn"))
    large_at_once = start > 1e3
    if growth < 100 and not large_at_once:
        return
    if not (case.diverged or case.nonfinite_step is not None):
        return
    at = int(steps[ok][int(np.argmax(values))])
    clipped = bool(case.run.facts("clip"))
    yield supports(
        STRONG if recurrent or large_at_once else MODERATE,
        f"the gradient norm went from {start:.3g} to {peak:.3g} by step {at}"
        + ("" if clipped else ", and nothing clips it"),
        tool="gradient_debugger",
        step=at,
        start=start,
        peak=peak,
        growth=growth,
    )
    if recurrent:
        yield symptom(WEAK, "the model is recurrent: gradients multiply along the sequence")


CAUSE = Cause(
    id="numerics.exploding_gradient",
    title="Gradients grow without bound",
    phase="backward",
    repair="Clip the gradient norm (clip_grad_norm_, 1.0), lower the rate, or shorten the recurrence.",
    weigh=weigh,
    mistaken_for={
        "numerics.sqrt_at_zero_backward": "there nothing grows before the event",
        "optimizer.lr_too_high": "there large updates come first",
        "loop.missing_zero_grad": "there old gradients add up",
    },
    intervention="clip the gradient norm at 1",
    interventions=("clip_gradients:1",),
    next_measurement="gradient norm per layer in the steps before",
    source="Deep Learning Tuning Playbook",
)
