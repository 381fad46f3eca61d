"""nll_loss or kl_div is given probabilities where it expects their logarithms.

Healthy twin: a negative likelihood of densities, whose inputs are log-densities and not probabilities.
Source: microsoft/ProDA#20.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

POSITIVE = 1e-2
"""Rounding in half precision lifts a log-probability above 0 by less."""


def weigh(case: Case) -> Iterator[Weight]:
    """Inputs of nll_loss or kl_div that are probabilities."""
    for site in case.run.losses:
        if site.function not in {"nll_loss", "kl_div"}:
            continue
        rows = case.calls(grad=True, site=site.index)
        if len(rows["step"]) < 2:
            continue
        low, high, rowsum = float(min(rows["in_min"])), nanmax(rows["in_max"]), nanmax(rows["in_rowsum"])
        if low >= 0.0 and 0.0 < high <= 1.0 + 1e-6 and rowsum < 1e-3:
            yield supports(
                DECISIVE,
                f"{site.function} expects log-probabilities but got probabilities: rows sum to 1 and lie in "
                f"[{low:.2g}, {high:.2g}]",
                tool="layer_analyzer",
                step=1,
                where=case.site_place(site.index),
                rowsum_error=rowsum,
                low=low,
                high=high,
            )
        elif site.function == "nll_loss" and high > POSITIVE:
            yield supports(
                DECISIVE,
                f"nll_loss expects log-probabilities, which are never above 0, but got values up to {high:.3g}: its value has "
                f"no floor ({nanmedian(rows['value'][:3]):.3g} to {nanmedian(rows['value'][-3:]):.3g})",
                tool="layer_analyzer",
                step=1,
                where=case.site_place(site.index),
                low=low,
                high=high,
            )
        else:
            continue
        if case.loss.n and case.loss.last < 0:
            yield symptom(MODERATE, f"the loss is negative ({case.loss.last:.3f})", loss=case.loss.last)


CAUSE = Cause(
    id="loss.missing_log",
    title="A loss that expects log-probabilities is given probabilities or raw scores",
    phase="loss",
    repair="Use log_softmax before the loss (or cross_entropy on raw scores).",
    weigh=weigh,
    mistaken_for={"loss.double_softmax": "there the loss takes logits"},
    explains=(
        "numerics.vanishing_gradient",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "loss.sign_flipped",
        "eval.underfit_stopped_early",
    ),
    intervention="take the logarithm of what enters the loss",
    interventions=("log_of_probabilities",),
    next_measurement="range of what enters the loss",
    source="microsoft/ProDA#20",
)
