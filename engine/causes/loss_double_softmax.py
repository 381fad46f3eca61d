"""Probabilities go into a loss that applies softmax (or sigmoid) itself.

Healthy twin: log-probabilities into cross entropy (softmax of a log-softmax changes nothing).
Source: discuss.pytorch.org 43814; NervanaSystems/distiller 0a8a3b3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom

LOGIT_LOSSES = {"cross_entropy": "softmax", "binary_cross_entropy_with_logits": "sigmoid"}


def weigh(case: Case) -> Iterator[Weight]:
    """What enters the loss: rows that sum to 1, or values that never leave [0, 1]."""
    for site in case.run.losses:
        activation = LOGIT_LOSSES.get(site.function)
        rows = case.calls(grad=True, site=site.index)
        if activation is None or len(rows["step"]) < 3:
            continue
        low, high = float(min(rows["in_min"])), nanmax(rows["in_max"])
        inside = low >= 0.0 and high <= 1.0
        rowsum = nanmax(rows["in_rowsum"])
        patterns = [f.data.get("patterns") or {} for f in case.run.facts("graph")]
        if activation == "softmax":
            if not inside or not rowsum < 1e-3:
                continue
            floor = math.log(math.e + (case.n_classes or 2) - 1) - 1
            yield supports(
                DECISIVE,
                f"what enters cross_entropy are probabilities: every row sums to 1 (within {rowsum:.1e}) and lies in "
                f"[{low:.2g}, {high:.2g}]; the loss cannot fall under {floor:.3f}",
                tool="layer_analyzer",
                subject=_last_activation(case, "Softmax"),
                step=1,
                where=case.site_place(site.index),
                rowsum_error=rowsum,
                low=low,
                high=high,
                floor=floor,
            )
            if any(p.get("softmax_before_log_softmax") for p in patterns):
                yield supports(STRONG, "the autograd graph has a softmax right before the loss's own log-softmax")
            if case.loss.last > 0.8 * floor:
                yield symptom(
                    MODERATE, f"the loss ends at {case.loss.last:.3f}, at its floor {floor:.3f}", loss=case.loss.last
                )
        elif inside and nanmedian(rows["in_std"]) > 0:
            sure = any(p.get("sigmoid_before_bce_logits") for p in patterns)
            layer = _last_activation(case, "Sigmoid")
            if sure or layer:
                yield supports(
                    DECISIVE,
                    f"what enters binary_cross_entropy_with_logits lies in [{low:.2g}, {high:.2g}] and comes out of "
                    "a sigmoid",
                    tool="layer_analyzer",
                    subject=layer,
                    step=1,
                    where=case.site_place(site.index),
                    low=low,
                    high=high,
                )


def _last_activation(case: Case, cls: str) -> str | None:
    names = [x.name for x in case.run.layers if x.cls == cls]
    return names[-1] if names else None


CAUSE = Cause(
    id="loss.double_softmax",
    title="The loss applies softmax to outputs that are probabilities already",
    phase="loss",
    repair="Return logits from the model; the loss applies softmax (or sigmoid) itself.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_low": "there logits enter the loss",
        "loss.missing_log": "there probabilities enter a loss that expects logarithms",
    },
    explains=(
        "data.class_imbalance",
        "numerics.vanishing_gradient",
        "eval.underfit_stopped_early",
        "optimizer.lr_too_low",
        "model.saturated_units",
    ),
    intervention="take the logarithm of what enters the loss",
    interventions=("log_of_probabilities",),
    next_measurement="row sums of what enters the loss",
    source="discuss.pytorch.org 43814",
)
