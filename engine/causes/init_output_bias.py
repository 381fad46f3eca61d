"""The last bias starts at even odds where the classes are far from even, and the run is spent on learning the prior.

Seen as: a loss that falls steadily, and whose fall is that of a constant which moves from 0 to the log odds of the classes;
at the end it is still no better than the best constant. Healthy twins: the same prior learned within the first tenth of
the run; a loss below what any constant gives.
Source: Karpathy, A Recipe for Training Neural Networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

BINARY = ("binary_cross_entropy_with_logits", "binary_cross_entropy", "bce_with_logits")
SKEWED = 0.8
"""Share of the larger class from which on even odds cost more than a third of the loss that they give."""
SPENT = 0.75
"""Share of the loss's fall that a constant explains, beyond which little else was learned."""
FEW = 20


def weigh(case: Case) -> Iterator[Weight]:
    """The fall of the loss against the fall of the constant that makes the same mean prediction."""
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        rate = float(np.nanmean(rows["target_mean"])) if np.isfinite(rows["target_mean"]).any() else math.nan
        facts = [f.data for f in case.run.facts("loss_call") if case.site_of(f) == site.index]
        if any(f.get("weight") or f.get("reduction") != "mean" for f in facts):
            continue  # weighted by hand or by the loss: its best constant is not the share of the classes
        binary = site.function in BINARY and len(rows["value"]) >= FEW and 0 < rate < 1
        if not binary or max(rate, 1 - rate) < SKEWED or nanmedian(rows["training"]) == 0:
            continue
        value, logit = rows["value"], _logits(site.function, rows["in_mean"])
        part = max(3, len(value) // 20)
        constant = np.log1p(np.exp(-np.abs(logit))) + np.maximum(logit, 0) - rate * logit
        prior = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
        first, last = float(np.nanmean(value[:part])), float(np.nanmean(value[-2 * part :]))
        fell, mean_fell = first - last, float(constant[0] - np.nanmean(constant[-2 * part :]))
        aim = math.log(rate / (1 - rate))
        moved = abs(float(logit[-1] - logit[0]))
        slow = abs(float(np.nanmean(logit[len(logit) // 2 - part : len(logit) // 2 + part])) - aim) > 0.25 * abs(aim)
        if not (abs(logit[0]) < 0.25 * abs(aim) and last >= 0.98 * prior and fell > 0 and slow):
            continue
        if mean_fell < SPENT * fell or moved < 0.25 * abs(aim):
            continue
        yield supports(
            DECISIVE,
            f"the first predictions are even odds (logit {logit[0]:.2g}) where the targets say {100 * rate:.2g} % (logit "
            f"{aim:.2g}): {100 * min(1.0, mean_fell / fell):.0f} % of the fall of the loss is that of a constant, and after "
            f"{len(value)} steps it is {last:.3g}, no better than the best constant ({prior:.3g})",
            tool="layer_analyzer",
            subject=_last_bias(case),
            step=1,
            rate=rate,
            first_logit=float(logit[0]),
            last=last,
            prior=prior,
        )
        if abs(float(logit[-1]) - aim) > 0.1 * abs(aim):
            yield symptom(MODERATE, f"it is still on its way there (logit {float(logit[-1]):.2g} at the end)")
        return


def _logits(function: str, mean: Floats) -> Floats:
    """Mean prediction as log odds."""
    if "logits" in function:
        return mean
    inside = np.clip(mean, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _last_bias(case: Case) -> str | None:
    """The bias of the last layer, or the layer itself."""
    layers = [x for x in case.kinds("linear", "conv") if x.leaf]
    if not layers:
        return None
    bias = f"{layers[-1].name}.bias"
    return bias if bias in layers[-1].parameters else layers[-1].name


CAUSE = Cause(
    id="init.output_bias",
    title="The output starts at even odds although the classes are far from even, so the run is spent on learning the prior",
    phase="setup",
    repair="Set the last bias to the log odds of the classes, for example nn.init.constant_(head.bias, logit(rate)).",
    weigh=weigh,
    mistaken_for={
        "data.class_imbalance": "there the prior was learned early, and the loss is that of the best constant",
        "optimizer.lr_too_low": "there no parameter moves, here the last bias does and has far to go",
    },
    explains=("data.class_imbalance", "eval.underfit_stopped_early", "optimizer.lr_too_low"),
    intervention="set the last bias to the log odds",
    next_measurement="loss against that of the best constant",
    source="Karpathy, A Recipe for Training Neural Networks",
)
