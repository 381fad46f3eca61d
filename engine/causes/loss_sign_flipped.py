"""The loss is maximised: what goes into backward is minus the loss.

Healthy twins: policy gradients, adversarial terms, negative likelihoods - none of them negates a supervised loss.
Source: TheDeepChecker flipped-sign.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """The factor with which the loss enters backward, and where its value is going; else a fall without a floor."""
    if len(case.run.optimizers) > 1:
        return
    turned = [i for i in case.run.optimizers if any(g.get("maximize") for g in i.groups)]
    factors = _factors(case)
    if turned:
        factors = {site: -factor for site, factor in factors.items()}
    for site, factor in factors.items():
        value = case.calls(grad=True, site=site)["value"]
        tenth = max(2, len(value) // 10)
        first, last = nanmedian(value[:tenth]), nanmedian(value[-tenth:])
        if factor >= 0 or len(value) < 5 or not first > 0:
            continue
        yield supports(
            DECISIVE if last > first else STRONG,
            f"the loss enters backward with the factor {-factor if turned else factor:.2g}"
            + (", the optimizer is told to maximise it," if turned else "")
            + f" and its value goes from {first:.3g} to {last:.3g}: it is being maximised",
            tool="gradient_debugger",
            step=1,
            where=case.optimizer_place(turned[0].index) if turned else case.site_place(site),
            factor=factor,
            first=first,
            last=last,
        )
        train = case.accuracy(grad=True)
        if train.n > 5 and train.last < case.chance - 0.02:
            yield symptom(MODERATE, f"accuracy sinks below chance ({train.last:.2f} against {case.chance:.2f})")
        return
    if not factors:
        yield from _bottomless(case)


def _factors(case: Case) -> dict[int, float]:
    """Loss site → median factor of its term in the root of backward."""
    found: dict[int, list[float]] = {}
    for fact in case.run.facts("graph"):
        for term in fact.data.get("terms") or []:
            if isinstance(term.get("factor"), (int, float)) and int(term.get("site", -1)) >= 0:
                found.setdefault(int(term["site"]), []).append(float(term["factor"]))
    return {site: nanmedian(values) for site, values in found.items()}


def _bottomless(case: Case) -> Iterator[Weight]:
    """A hand-written loss that falls below zero faster and faster; a likelihood's logarithm levels off."""
    values = case.loss.values[np.isfinite(case.loss.values)]
    if len(values) < 20 or values[-1] >= 0:
        return
    half = len(values) // 2
    a, b, c = (nanmedian(values[i : i + max(3, len(values) // 10)]) for i in (0, half, len(values) - len(values) // 10))
    if c < b < a and (b - c) > 1.5 * (a - b) and c < -50 * max(1.0, abs(a)):
        yield supports(
            STRONG + 1.0,
            f"the loss falls below zero faster and faster ({a:.3g}, {b:.3g}, {c:.3g}): it has no floor, so what is minimised "
            "is the negative of an error",
            tool="gradient_debugger",
            step=1,
            first=a,
            middle=b,
            last=c,
        )


CAUSE = Cause(
    id="loss.sign_flipped",
    title="The sign of the loss is flipped: training maximises it",
    phase="loss",
    repair="Remove the minus sign in front of the loss.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the first steps still lower the loss",
        "loss.missing_log": "there the value itself is negative",
    },
    explains=("optimizer.lr_too_high", "numerics.exploding_gradient", "eval.underfit_stopped_early"),
    intervention="negate the loss",
    interventions=("negate_loss",),
    next_measurement="root of backward against the value of the loss function",
    source="TheDeepChecker",
)
