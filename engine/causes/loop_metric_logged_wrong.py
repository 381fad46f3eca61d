"""The training loss that is printed is not the loss: a running sum or mean that is never reset.

Healthy twins: the loss of the last batch, an exponential average, the mean of the epoch.
Source: TAXONOMY.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

FEWEST = 4
"""Printed values: three more than a scale needs."""
CLOSE = 0.02
"""Relative error of printed values (three digits are common) against what they are said to be."""
APART = 0.15
"""The same values must differ from every honest reading by more than this."""


def weigh(case: Case) -> Iterator[Weight]:
    """Printed training figures against sums and means of the recorded ones, over all steps and over the last interval."""
    losses = case.per_backward.values
    shown = np.asarray([p.value for p in case.log if p.loss and not p.evaluation], dtype=np.float64)
    yield from _never_reset(shown, losses, np.ones(len(losses)), "losses")
    calls = case.calls(grad=True)
    hits, n = calls["accuracy"], np.where(calls["n"] > 0, calls["n"], 1.0)
    shown = np.asarray([p.value for p in case.log if p.accuracy and p.evaluation is False], dtype=np.float64)
    yield from _never_reset(shown, hits, n, "accuracies")


def _never_reset(shown: Floats, values: Floats, weights: Floats, what: str) -> Iterator[Weight]:
    k = len(shown)
    usable = k >= FEWEST and len(values) >= 3 * k and len(values) % k == 0
    if not usable or not np.isfinite(values).all() or (values < 0).any() or not (values > 0).any():
        return
    per, n = values.reshape(k, -1), weights.reshape(k, -1)
    sums, width = np.cumsum((per * n).sum(1)), per.shape[1]
    means, own = sums / np.cumsum(n.sum(1)), (per * n).sum(1) / n.sum(1)
    honest = min(_off(shown, own), _off(shown, per.mean(1)), _off(shown, per[:, -1]), _off(shown, per.sum(1)))
    if honest < APART:
        return
    scale = float(np.exp(np.mean(np.log(np.maximum(shown, 1e-12) / np.maximum(sums, 1e-12)))))
    if _off(shown, means) < CLOSE:
        made = "the mean over all steps since the beginning"
    elif _off(shown, scale * sums) < CLOSE:
        made = f"the sum over all steps since the beginning (times {scale:.3g})"
    else:
        return
    yield supports(
        STRONG,
        f"the {k} printed training {what} ({shown[0]:.4g} to {shown[-1]:.4g}) are {made}, while the mean of each interval goes "
        f"from {own[0]:.4g} to {own[-1]:.4g}: the running value is never reset",
        tool="error_diagnoser",
        step=width,
        printed=float(shown[-1]),
        measured=float(own[-1]),
    )
    ratio = shown[-1] / max(own[-1], 1e-12)
    if abs(ratio - 1) > 1:
        yield symptom(MODERATE, f"the last one is {ratio:.2g} times that of its interval")
    elif honest > 2 * APART:
        yield symptom(WEAK, f"they differ from what each interval gives by up to {100 * honest:.0f} %")


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
