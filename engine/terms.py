"""The summands of the loss as the autograd graph has them: with which sign each is minimised, and how heavily."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aitia.engine.case import Case, nanmedian

ERRORS = (
    "Square",
    "ExpBackward0",
    "AbsBackward0",
    "SoftplusBackward0",
    "LogsumexpBackward0",
    "LinalgVectorNormBackward0",
    "NormBackward0",
    "NllLossBackward0",
    "MseLossBackward0",
)
"""Quantities with a floor and without a ceiling: what makes them grow has no end."""
LIKELIHOODS = ("LogSoftmaxBackward0", "LogSigmoidBackward0")
"""Logarithms of probabilities: they have a ceiling (0) and no floor."""
PROBABILITIES = ("SoftmaxBackward0", "SigmoidBackward0")


SCALE_FREE = frozenset(
    {
        "Adam",
        "AdamW",
        "NAdam",
        "RAdam",
        "Adamax",
        "SparseAdam",
        "Adagrad",
        "Adadelta",
        "Adafactor",
        "RMSprop",
        "Rprop",
    }
)
"""Optimizers whose steps do not depend on the scale of the loss."""


@dataclass(frozen=True)
class Term:
    """One summand of a loss that no loss function made, over the walks of the graph."""

    kind: str
    """`error` (bounded below only), `likelihood` (bounded above only) or empty (not known)."""
    op: str
    factor: float
    mixed: bool
    """It is multiplied by numbers of both signs."""

    @property
    def upwards(self) -> bool:
        """An error is driven up, or the logarithm of a probability down."""
        return (self.kind == "error" and self.factor < 0) or (self.kind == "likelihood" and self.factor > 0)


def terms(case: Case) -> list[Term]:
    """What every walked root was made of by hand."""
    found = []
    for fact in case.run.facts("graph"):
        for term in fact.data.get("terms") or []:
            below = [str(op) for op in term.get("below") or []]
            if int(term.get("site", -1)) < 0 and below and isinstance(term.get("factor"), (int, float)):
                found.append(Term(_kind(below), below[0], float(term["factor"]), bool(term.get("mixed"))))
    return found


def _kind(below: list[str]) -> str:
    if below[0] == "LogsumexpBackward0" and not _of_scores(below[1:]):
        return ""  # of sums of logarithms: the density of a mixture
    if below[0] in ERRORS:
        return "error"
    if below[0] in LIKELIHOODS:
        return "likelihood"
    inner = [op for op in below[1:] if not op.startswith(("Clamp", "Add"))]
    if below[0].startswith("Log") and inner and inner[0] in PROBABILITIES:
        return "likelihood"
    return ""


def _of_scores(below: list[str]) -> bool:
    """Whether these operations are a layer's plain scores, scaled at most."""
    scaled = [op for op in below if not op.startswith(("Mul", "Div"))]
    return not scaled or scaled[0].startswith(
        ("Addmm", "Mm", "Bmm", "Linear", "Convolution", "Baddbmm", "AccumulateGrad")
    )


def factors(case: Case) -> dict[int, float]:
    """Loss site → how many times its recorded value counts in the root of backward, the median over the walks.

    Of unreduced losses the recorded value is the mean, which counts as often as the program's own reduction says.
    """
    unreduced = {case.site_of(f) for f in case.train_loss_calls if f.data.get("reduction") == "none"}
    found: dict[int, list[float]] = {}
    for fact in case.run.facts("graph"):
        for term in fact.data.get("terms") or []:
            site = int(term.get("site", -1))
            factor = term.get("weight" if site in unreduced else "factor")
            if isinstance(factor, (int, float)) and site >= 0:
                found.setdefault(site, []).append(float(factor))
    return {site: nanmedian(values) for site, values in found.items()}


def weight(case: Case) -> float:
    """How many times the mean of its errors the whole loss counts, as it goes into backward; NaN where not known.

    1 for a mean, n for a sum over n, k for a sum of k means; a GradScaler's scale is taken out again.
    """
    totals = []
    _, scale = case.run.scalar("loss_scale")
    first = next((float(s) for s in scale if math.isfinite(s) and s > 0), 1.0)
    for fact in case.run.facts("graph"):
        told = [t for t in fact.data.get("terms") or [] if t.get("op") != "constant"]
        heavy = [abs(float(t["weight"])) for t in told if isinstance(t.get("weight"), (int, float))]
        if heavy and len(heavy) == len(told):
            totals.append(sum(heavy) / first)
    return float(np.median(totals)) if totals else math.nan


def adapts(case: Case) -> bool:
    """Whether every optimizer divides by the size of its gradients, so that a factor of the loss cancels out."""
    return bool(case.run.optimizers) and all(i.cls in SCALE_FREE for i in case.run.optimizers)
