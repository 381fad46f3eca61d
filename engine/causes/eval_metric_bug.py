"""The printed metric does not measure what it says.

Source: SO 62354952, 56841451; cnn-text-classification-tf#136.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

FAR = 0.15
"""Printed and recomputed accuracy differ by more than batch effects can explain."""


def weigh(case: Case) -> Iterator[Weight]:
    """Accuracies in the program's own log against those recomputed from what entered the loss in the same phase."""
    for evaluation, ours in ((True, case.eval_curve("accuracy")), (False, case.accuracy(grad=True))):
        printed = [p.value for p in case.log if p.accuracy and p.evaluation is evaluation]
        if len(printed) < 2 or ours.n < 2 or ours.steps[-1] < 0.8 * case.n_steps:
            continue
        last = float(np.median(printed[-3:]))
        gap = abs(last - ours.last)
        constant = (
            float(np.ptp(printed)) < 0.02 and ours.highest - float(ours.values[np.isfinite(ours.values)][0]) > 0.2
        )
        if gap < FAR and not (constant and gap > 0.1):
            continue
        yield supports(
            STRONG,
            f"the program prints an accuracy of {last:.3f}, but what entered the loss gives {ours.last:.3f}"
            + (" (the printed value does not move)" if constant else ""),
            tool="error_diagnoser",
            printed=last,
            recomputed=ours.last,
            gap=gap,
        )
        if case.learned:
            yield symptom(MODERATE, f"the loss falls from {case.loss.first:.3g} to {case.loss.last:.3g} all the while")
        return


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
