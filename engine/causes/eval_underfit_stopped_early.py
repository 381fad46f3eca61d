"""Training ended while the loss was still falling.

Source: SO 51032181, 51198474; DeepCrime RCP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

SLIGHT = 0.02
"""Share of the loss that the last third took off, where it takes off no less than the one before."""
STEADY = 0.8
"""Share of the earlier fall that the last third still reaches when a run is cut off on its way down: hardly any less."""


def weigh(case: Case) -> Iterator[Weight]:
    """Slope of the loss at the end against the noise, with a normal rate and healthy updates."""
    curve = case.loss
    if curve.n < 10 or case.run.info.failure is not None:
        return
    values = curve.values[np.isfinite(curve.values)]
    third = max(3, len(values) // 3)
    a, b = float(np.median(values[-2 * third : -third])), float(np.median(values[-third:]))
    drop = (a - b) / max(abs(float(np.median(values[:third]))), 1e-12)
    n = case.n_classes
    accuracy = case.accuracy(grad=True)
    poor = bool(
        accuracy.n and accuracy.last < 0.75 and math.isfinite(case.chance) and accuracy.last > case.chance + 0.05
    )
    before = float(np.median(values[:third])) - a
    steady = a - b > STEADY * before > 0
    if drop < (SLIGHT if steady else 0.08) or (a - b) < 2 * curve.spread or not poor:
        return
    ratio = nanmedian(case.update_ratio[:, [p.index for p in case.weights]].ravel()) if case.weights else math.nan
    if not ratio > 1e-4:
        return
    yield supports(
        STRONG - WEAK,
        f"the loss was still falling when the run ended ({a:.3g} to {b:.3g} in the last third), with normal updates "
        f"({ratio:.1e} of the weights per step) and accuracy at {accuracy.last:.2f}",
        tool="gradient_debugger",
        step=case.n_steps,
        drop=drop,
        update_ratio=ratio,
        accuracy=accuracy.last,
        classes=n,
    )
    if steady:
        yield symptom(
            MODERATE,
            f"the last third of the run lowered it by {a - b:.3g}, the one before by {before:.3g}: it was not levelling off",
            last=a - b,
            before=before,
        )


CAUSE = Cause(
    id="eval.underfit_stopped_early",
    title="Training stopped while the loss was still falling",
    phase="loop",
    repair="Train longer (more epochs, more patience).",
    mistaken_for={"optimizer.lr_too_low": "there updates are tiny"},
    intervention="run twice as long",
    next_measurement="the loss of a run twice as long",
    weigh=weigh,
    source="DeepCrime RCP",
)
