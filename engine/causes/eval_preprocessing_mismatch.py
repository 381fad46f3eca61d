"""Training and evaluation data are prepared differently.

Source: DeepFD #15 (SO 59325381); SO 46239839.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.records import SourceLocation

MOST_FEATURES = 0.4
"""Share of the features whose means are off: a drift in a few of them is in the world, not in the preparation."""

WORSE = 0.15
"""Accuracy that sampling does not explain."""
MANY = 6
"""Features below which an order found by sorting is no surprise."""
APART, SAME = 4.0, 1.5
"""Standard errors in the median: certainly different, and hardly further apart than two samples of the same (0.7)."""
BEYOND = 4
"""Standard errors of a mean that are no chance."""
OTHER_TOKENS = 0.05
"""Of the spread of ids: less is no other way of making them."""


def weigh(case: Case) -> Iterator[Weight]:
    """Mean and standard deviation of the model's inputs in training against evaluation."""
    rows = case.run.table("batch")
    train, held_out = rows["grad"] == 1, rows["grad"] == 0
    trained = rows["root"][train].astype(int)
    if len(trained):  # a frozen extractor has other inputs than the head behind it
        own = rows["root"] == np.bincount(trained[trained >= 0]).argmax()
        train, held_out = train & own, held_out & own
    if train.sum() < 5 or held_out.sum() < 1:
        return
    mean_t, std_t = nanmedian(rows["in_mean"][train]), nanmedian(rows["in_std"][train])
    mean_e, std_e = nanmedian(rows["in_mean"][held_out]), nanmedian(rows["in_std"][held_out])
    wobble = float(np.nanstd(rows["in_mean"][train])) + 1e-9
    if not std_t > 0 or not std_e > 0:
        return
    if any(x.kind == "embedding" for x in case.run.layers):
        # the mean of a larger evaluation batch wobbles less than that of a training batch
        if nanmedian(rows["in_min"][held_out]) > nanmedian(rows["in_min"][train]):
            return  # the id that fills up batches is missing: sequences come one by one
        wobble *= math.sqrt(min(1.0, nanmedian(rows["n"][train]) / max(1.0, nanmax(rows["n"][held_out]))))
        yield from _by_token(case, (mean_t, mean_e, std_t, wobble), int(rows["step"][held_out][0]))
        return
    ratio = max(std_e / std_t, std_t / std_e)
    shift = abs(mean_e - mean_t) / std_t
    significant = abs(mean_e - mean_t) > 6 * wobble or ratio > 1.5
    if not significant or (ratio < 1.5 and shift < 0.4):
        yield from _by_feature(case)
        return
    accuracy, there = case.accuracy(grad=True), _evaluated(case)
    compared, far = accuracy.n > 0 and math.isfinite(there), ratio > 2.5 or shift > 1.0
    # a small held-out set may differ by this much; what it costs has to be seen
    yield supports(
        DECISIVE if far else STRONG if compared else MODERATE,
        f"inputs have mean {mean_t:.3g} and standard deviation {std_t:.3g} in training, but {mean_e:.3g} and {std_e:.3g} in "
        "evaluation",
        tool="layer_analyzer",
        step=int(rows["step"][held_out][0]),
        where=_place(case),
        train_mean=mean_t,
        train_std=std_t,
        eval_mean=mean_e,
        eval_std=std_e,
    )
    if compared:
        if there < accuracy.last - WORSE:
            yield symptom(
                MODERATE,
                f"accuracy {accuracy.last:.2f} in training, {there:.2f} in evaluation",
                train=accuracy.last,
                evaluation=there,
            )
        elif there > accuracy.last - 0.05:
            yield against(STRONG, f"evaluation accuracy is as good as training's ({there:.2f})", evaluation=there)
        if there > accuracy.last + WORSE:
            yield against(
                STRONG, "and far better, so that it is the training samples that were made harder", evaluation=there
            )


def _evaluated(case: Case) -> float:
    """Accuracy in evaluation at the end: recomputed, or as printed; NaN where neither is known."""
    values = case.eval_accuracy
    return float(np.median(values[-3:])) if len(values) else math.nan


def _by_token(case: Case, means: tuple[float, float, float, float], step: int) -> Iterator[Weight]:
    """Ids of tokens: other words, or many that the vocabulary does not know, where the same kind of text was meant."""
    mean_t, mean_e, std_t, wobble = means
    accuracy, there = case.accuracy(grad=True), _evaluated(case)
    off = abs(mean_e - mean_t)
    if not accuracy.n or not there < accuracy.last - WORSE or off < BEYOND * wobble or off < OTHER_TOKENS * std_t:
        return
    yield supports(
        STRONG,
        f"token ids are {mean_t:.3g} on average in training and {mean_e:.3g} in evaluation, where batches of training differ by "
        f"{wobble:.2g} only: the text is not turned into ids in the same way",
        tool="layer_analyzer",
        step=step,
        where=_place(case),
        train_mean=mean_t,
        eval_mean=mean_e,
    )
    yield symptom(
        MODERATE,
        f"accuracy {accuracy.last:.2f} in training, {there:.2f} in evaluation",
        train=accuracy.last,
        evaluation=there,
    )


def _by_feature(case: Case) -> Iterator[Weight]:
    """Equal as a whole and different by column: an order of columns or channels, or one scaler fitted for each side."""
    accuracy, there = case.accuracy(grad=True), _evaluated(case)
    worse = accuracy.n > 0 and there < accuracy.last - WORSE
    rows = case.run.table("batch")
    first = rows["step"][rows["grad"] == 0]
    for fact in case.run.facts("rows"):
        shift, error = float(fact.data.get("feature_shift") or 0), float(fact.data.get("feature_error") or 1)
        share, n = float(fact.data.get("features_shifted") or 0), int(fact.data.get("n_features") or 0)
        kept, ignored = float(fact.data.get("order_kept") or 0), float(fact.data.get("order_ignored") or 0)
        if worse and n >= MANY and kept > APART and ignored < SAME:
            yield supports(
                DECISIVE,
                f"the features of training and evaluation are {kept:.2g} standard errors apart (median of {n}), and only "
                f"{ignored:.2g} if their order is ignored: they are the same features in another order",
                tool="layer_analyzer",
                step=max(1, int(first[0]) if len(first) else 1),
                where=_place(case),
                order_kept=kept,
                order_ignored=ignored,
            )
            return
        if not worse or n < 2 or share < MOST_FEATURES or shift < 6 * error:
            continue
        yield supports(
            DECISIVE if shift > 1.0 else STRONG,
            f"the mean of a feature differs by {shift:.2g} standard deviations between training and evaluation (median of {n} "
            f"features; {100 * share:.0f} % of them by more than half of one), though all together look alike",
            tool="layer_analyzer",
            step=max(1, int(first[0]) if len(first) else 1),
            where=_place(case),
            feature_shift=shift,
            features_shifted=share,
        )
        yield symptom(
            MODERATE,
            f"accuracy {accuracy.last:.2f} in training, {there:.2f} in evaluation",
            train=accuracy.last,
            evaluation=there,
        )
        return


def _place(case: Case) -> SourceLocation | None:
    for fact in case.run.facts("forward_context"):
        if fact.data.get("grad") is False:
            return case.place(fact)
    return None


CAUSE = Cause(
    id="eval.preprocessing_mismatch",
    title="Evaluation data are preprocessed differently from training data",
    phase="eval",
    repair="Use one preprocessing for both (same mean, standard deviation, range, order of channels).",
    mistaken_for={
        "eval.overfit": "there inputs have the same statistics",
        "eval.mode_not_eval": "there modes differ, not data",
    },
    explains=("eval.overfit",),
    intervention="standardise evaluation inputs with the training statistics",
    next_measurement="statistics of both inputs per feature",
    weigh=weigh,
    source="SO 46239839",
)
