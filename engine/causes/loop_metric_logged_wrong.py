"""The training loss that is printed is not the loss: a running sum or mean that is never reset.

Healthy twins: the loss of the last batch, an exponential average, the mean of the epoch.
Source: TAXONOMY.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

FEWEST = 4
"""Printed values: three more than a scale needs."""
CLOSE = 0.02
"""Relative error of printed values (three digits are common) against what they are said to be."""
APART = 0.15
"""The same values must differ from every honest reading by more than this."""


def weigh(case: Case) -> Iterator[Weight]:
    """Printed training losses against sums and means of the recorded ones, over all steps and over the last interval."""
    shown = np.asarray([p.value for p in case.log if p.loss and not p.evaluation], dtype=np.float64)
    losses = case.per_backward.values
    k = len(shown)
    if k < FEWEST or len(losses) < 3 * k or len(losses) % k or not np.isfinite(losses).all() or (losses <= 0).any():
        return
    per = losses.reshape(k, -1)
    sums, width = np.cumsum(per.sum(1)), per.shape[1]
    means = sums / (width * np.arange(1, k + 1))
    honest = min(_off(shown, per.mean(1)), _off(shown, per[:, -1]), _off(shown, per.sum(1)))
    if honest < APART:
        return
    scale = float(np.exp(np.mean(np.log(np.maximum(shown, 1e-12) / sums))))
    if _off(shown, means) < CLOSE:
        what = "the mean over all steps since the beginning"
    elif _off(shown, scale * sums) < CLOSE:
        what = f"the sum over all steps since the beginning (times {scale:.3g})"
    else:
        return
    yield supports(
        STRONG,
        f"the {k} printed training losses ({shown[0]:.4g} to {shown[-1]:.4g}) are {what}, while the mean of each interval goes "
        f"from {per[0].mean():.4g} to {per[-1].mean():.4g}: the running value is never reset",
        tool="error_diagnoser",
        step=width,
        printed=float(shown[-1]),
        measured=float(per[-1].mean()),
    )
    if abs(shown[-1] / per[-1].mean() - 1) > 1:
        yield symptom(MODERATE, f"the last one is {shown[-1] / per[-1].mean():.2g} times the loss of its interval")


def _off(shown: Floats, other: Floats) -> float:
    """Largest relative difference."""
    return float(np.max(np.abs(shown - other) / np.maximum(np.abs(other), 1e-12)))


CAUSE = Cause(
    id="loop.metric_logged_wrong",
    title="The logged loss is a running value that is never reset, not the loss of the epoch",
    phase="loop",
    repair="Reset the running sum and its count at the beginning of every epoch.",
    weigh=weigh,
    mistaken_for={"eval.metric_bug": "there an accuracy is computed wrongly"},
    intervention="none at run time",
    next_measurement="printed values against the recorded losses",
    source="TAXONOMY",
)
