"""Class weights that favour the frequent classes, or stand in the wrong order.

Source: SO 46202839; SO 44454158.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.records import Fact

RARE = 0.35
"""Share of positives below which they need weight, not less of it."""
LIGHT = 0.8
"""A factor that takes weight from them; nearer to 1 it does nothing."""


def weigh(case: Case) -> Iterator[Weight]:
    """Weights against the frequency of their classes, which they should counter."""
    for fact in case.train_loss_calls:
        yield from _positive(case, fact)
        weights = fact.data.get("weight_values")
        counts = _counts(case, fact.subject) or fact.data.get("target_dist")
        if not isinstance(weights, list) or not isinstance(counts, list) or len(weights) < 2:
            continue
        n = min(len(weights), len(counts))
        w, c = np.asarray(weights[:n], dtype=float), np.asarray(counts[:n], dtype=float)
        ok = (w > 0) & (c > 0)
        if ok.sum() < 2 or c[ok].max() < 2 * c[ok].min() or w[ok].max() < 1.2 * w[ok].min():
            continue
        w, c = np.log(w[ok]), np.log(c[ok])
        slope = float(((w - w.mean()) * (c - c.mean())).sum() / max(float(((c - c.mean()) ** 2).sum()), 1e-12))
        common, rare = int(np.argmax(c)), int(np.argmin(c))
        if slope > 0.2:
            yield supports(
                DECISIVE,
                f"the class weights grow with the frequency of their class (weight ~ count^{slope:.2f}): the most "
                f"frequent class weighs {np.exp(w[common] - w[rare]):.2g} times as much as the rarest",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                slope=slope,
            )
        elif slope > -0.2:
            yield supports(
                MODERATE,
                f"the class weights have nothing to do with the frequency of their class (weight ~ count^{slope:.2f})",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                slope=slope,
            )
        return


def _positive(case: Case, fact: Fact) -> Iterator[Weight]:
    """`pos_weight` multiplies the positives: below 1 where they are rare, it hides them."""
    weights = fact.data.get("pos_weight_values")
    counts = case.class_counts(grad=True, site=case.site_of(fact))
    if not isinstance(weights, list) or len(weights) != 1 or counts is None or len(counts) != 2 or not counts.min() > 0:
        return
    share, weight = float(counts[1] / counts.sum()), float(weights[0])
    if (weight < LIGHT and share < RARE) or (weight > 1 / LIGHT and share > 1 - RARE):
        yield supports(
            DECISIVE,
            f"{100 * share:.0f} % of the targets are positive and pos_weight multiplies them by {weight:.3g}: the weight favours "
            "the frequent class",
            tool="layer_analyzer",
            step=1,
            where=case.place(fact),
            share=share,
            weight=weight,
        )


def _counts(case: Case, site: str) -> list[float] | None:
    for fact in case.run.facts("confusion", site):
        table = fact.data.get("table")
        if fact.data.get("grad") is True and isinstance(table, list):
            return [float(sum(row)) for row in table]
    return None


CAUSE = Cause(
    id="loss.class_weight_wrong",
    title="Class weights are inverted or misordered",
    phase="loss",
    repair="Weight each class by the inverse of its frequency, in the order of the class ids.",
    mistaken_for={"data.class_imbalance": "there no weights are given"},
    explains=("data.class_imbalance",),
    intervention="remove the weights",
    interventions=("no_class_weights",),
    next_measurement="loss per class",
    weigh=weigh,
    source="SO 44454158",
)
