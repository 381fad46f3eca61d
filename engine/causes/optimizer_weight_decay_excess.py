"""Weight decay stronger than the gradient: the weights shrink towards zero and the loss towards that of guessing.

Source: DeepCrime RAW; TheDeepChecker over-regularization.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Decay integrated over the run, and the weight norms that followed it."""
    table = case.run.table("group")
    decay = table["weight_decay"]
    active = np.isfinite(decay) & (decay > 0)
    if not active.any() or case.n_steps < 20:
        return
    shrunk = []
    for p in case.weights:
        series = case.column("weight_norm", p.index)
        series = series[np.isfinite(series)]
        if len(series) >= 5 and series[0] > 0:
            shrunk.append(float(series[-1] / series[0]))
    if not shrunk:
        return
    kept = nanmedian(shrunk)
    strength = float(np.median(decay[active]))
    if kept < 0.5:
        yield supports(
            DECISIVE if not case.learned else MODERATE,
            f"weight decay {strength:.3g} shrank the weights to {100 * kept:.0f} % of their initial norm (median over layers)",
            tool="gradient_debugger",
            step=1,
            where=case.optimizer_place(),
            weight_decay=strength,
            kept=kept,
        )
        if case.learned:
            yield against(STRONG, "the loss fell clearly all the same", fall=case.loss.fall)
    n = case.n_classes
    if kept < 0.5 and n and n > 1 and abs(case.loss.last - math.log(n)) < 0.1 * math.log(n):
        yield symptom(MODERATE, f"the loss ends at ln({n}) = {math.log(n):.2f}: guessing", loss=case.loss.last)


CAUSE = Cause(
    id="optimizer.weight_decay_excess",
    title="Weight decay is so strong that it shrinks the weights faster than the gradient can build them",
    phase="step",
    repair="Lower weight_decay (0.01 or less for AdamW, 1e-4 for SGD) and leave biases and norms out of it.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there the weights keep their norm"},
    explains=("eval.underfit_stopped_early", "numerics.vanishing_gradient"),
    intervention="weight_decay = 0",
    next_measurement="weight norms over steps with weight_decay = 0",
    source="DeepCrime RAW",
)
