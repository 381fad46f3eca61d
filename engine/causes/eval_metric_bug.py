"""The printed metric does not measure what it says.

Source: SO 62354952, 56841451; cnn-text-classification-tf#136.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

_PRINTED = re.compile(r"(?i)\bacc(?:uracy)?\b[^0-9\n-]{0,12}([0-9]*\.?[0-9]+)\s*(%?)")
"""An accuracy in a log line; only the number is used."""
FAR = 0.15
"""Printed and recomputed accuracy differ by more than batch effects can explain."""


def weigh(case: Case) -> Iterator[Weight]:
    """Accuracies in the program's own log against those recomputed from what entered the loss."""
    printed = [float(v) / (100.0 if p or float(v) > 1.0 else 1.0) for v, p in _PRINTED.findall(case.run.log_tail())]
    ours_eval, ours_train = case.eval_curve("accuracy"), case.accuracy(grad=True)
    if len(printed) < 2 or not (ours_eval.n or ours_train.n):
        return
    ours = [c.last for c in (ours_eval, ours_train) if c.n]
    last = float(np.median(printed[-3:]))
    gap = min(abs(last - o) for o in ours)
    moved = max((c.highest - c.values[np.isfinite(c.values)][0] for c in (ours_eval, ours_train) if c.n), default=0.0)
    constant = float(np.ptp(printed)) < 0.02 and moved > 0.2
    if gap < FAR and not (constant and gap > 0.1):
        return
    yield supports(
        STRONG,
        f"the program prints an accuracy of {last:.3f}, but what entered the loss gives "
        + " and ".join(f"{o:.3f}" for o in ours)
        + (" (the printed value does not move)" if constant else ""),
        tool="error_diagnoser",
        step=None,
        printed=last,
        recomputed=ours[0],
        gap=gap,
    )
    if case.learned:
        yield symptom(
            MODERATE,
            f"the loss falls from {case.loss.first:.3g} to {case.loss.last:.3g} all the while",
            loss=case.loss.last,
        )


CAUSE = Cause(
    id="eval.metric_bug",
    title="The metric that is printed is computed wrongly",
    phase="eval",
    repair="Recompute it: argmax over the class dimension, the same order of predictions and labels, all samples counted.",
    mistaken_for={"eval.overfit": "there the recomputed accuracy is low too"},
    intervention="none at run time",
    next_measurement="the metric recomputed from logits and labels",
    weigh=weigh,
    source="cnn-text-classification-tf#136",
)
