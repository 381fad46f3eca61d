"""Steps so large that they jump over what they descend to.

Seen as: updates of more than a tenth of the weights, a loss that rises or rattles from the first steps, dead units, NaN.
Source: SO 37624102, 48934338; Deep Learning Tuning Playbook.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom
from aitia.engine.terms import adapts, weight

LARGE = 0.1
"""An update of a tenth of the weight norm in one step: the usual range is 1e-4 to 1e-2 (cs231n, part 3)."""

LATE = 20
"""Batches at the end that tell what was learned."""
NO_BETTER = 0.95
"""Share of the targets' variance from which an error is that of a constant; batches differ by a few per cent."""


def weigh(case: Case) -> Iterator[Weight]:
    """Update ratios of the matrices in the first part of the run and what the loss did after them."""
    columns = [p.index for p in case.weights if p.optimizers]
    ratios = case.update_ratio[:, columns] if columns else np.empty((0, 0))
    if not ratios.size or case.n_steps < 2:
        return
    with np.errstate(all="ignore"):
        worst = np.where(np.isfinite(ratios), ratios, -np.inf).max(axis=1)
    worst = worst[worst > -np.inf]
    if len(worst) == 0:
        return
    early = worst[: max(30, len(worst) // 4)]
    large = float((early > LARGE).mean())
    peak, typical = float(np.sort(early)[-2]) if len(early) > 1 else float(early[0]), float(np.median(early))
    idle = _like_the_mean(case)
    suffers = case.diverged or case.nonfinite_step is not None or not case.learned or idle is not None
    if (large < 0.3 and peak < 3 * LARGE) or not suffers:
        return
    _, lr = case.run.scalar("lr")
    which = columns[int(np.nanargmax(np.where(np.isfinite(ratios), ratios, -1).max(axis=0)))]
    yield supports(
        STRONG if typical > LARGE or peak > 3 * LARGE else MODERATE,
        f"single steps change weights by {100 * typical:.0f} % of their norm (up to {100 * peak:.0f} %, "
        f"{case.names[which]}); learning rate {nanmedian(lr[:10]):.3g}",
        tool="gradient_debugger",
        subject=case.owner(case.names[which]),
        step=1,
        where=case.optimizer_place(),
        update_ratio=typical,
        update_ratio_max=peak,
        lr=nanmedian(lr[:10]),
    )
    if case.nonfinite_step is not None:
        yield symptom(MODERATE, f"values became non-finite at step {case.nonfinite_step}", step=case.nonfinite_step)
    elif case.diverged:
        yield symptom(
            MODERATE,
            f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}, with peaks at {case.loss.highest:.3g}",
            loss_first=case.loss.first,
            loss_last=case.loss.last,
        )
    elif case.flat:
        yield symptom(
            WEAK,
            f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})",
            loss_first=case.loss.first,
            loss_last=case.loss.last,
        )
    if idle is not None:
        yield symptom(
            MODERATE,
            f"training ends with {idle:.2f} times the error of always saying the mean of the targets",
            share=idle,
        )
    dead = case.dead
    if dead is not None and dead.share > 0.8 and dead.share_first < 0.5:
        yield symptom(MODERATE, f"units of {dead.layer} died at step {dead.onset}, after such steps", step=dead.onset)
    yield from _others(case)


def _like_the_mean(case: Case) -> float | None:
    """The squared error at the end over the variance of the targets, where it is no better than their mean.

    A first step that is far too large makes a loss so high that it falls a long way, and nothing is learned.
    """
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        if site.function != "mse_loss" or len(rows["value"]) < LATE:
            continue
        left, spread = nanmedian(rows["value"][-LATE:]), nanmedian(rows["target_std"][-LATE:]) ** 2
        if spread > 0 and left >= NO_BETTER * spread:
            return float(left / spread)
    return None


def _others(case: Case) -> Iterator[Weight]:
    _, carried = case.run.scalar("carried_grad_norm")
    _, total = case.run.scalar("grad_norm")
    with np.errstate(all="ignore"):
        share = nanmedian(carried / total) if len(carried) else math.nan
    if math.isfinite(share) and share > 0.3:
        yield against(
            DECISIVE, f"{100 * share:.0f} % of the gradient is left over from earlier steps", carried_share=share
        )
    for fact in case.train_loss_calls:
        if fact.data.get("reduction") == "sum":
            yield against(STRONG, "the loss is summed over the batch, which multiplies the gradient", reduction="sum")
            break
    heavy = weight(case)
    if heavy >= 8.0 and not adapts(case):
        yield against(
            STRONG, f"the loss counts {heavy:.3g} times its mean, which multiplies the gradient", weight=heavy
        )
    rows = case.run.table("batch")
    spread = nanmedian(rows["in_std"][rows["grad"] == 1])
    if math.isfinite(spread) and spread > 20:
        yield against(MODERATE, f"the input is unscaled (standard deviation {spread:.3g})", in_std=spread)


CAUSE = Cause(
    id="optimizer.lr_too_high",
    title="The learning rate is too large: each step overshoots",
    phase="step",
    repair="Lower the learning rate (by ten first), or warm it up.",
    weigh=weigh,
    mistaken_for={
        "loop.missing_zero_grad": "there gradients of earlier steps are still in the sum",
        "loss.reduction_scale": "there the loss, and so the gradient, grows with the batch",
        "loss.sign_flipped": "there the loss rises steadily from the first step, with small updates",
        "data.unscaled_input": "there the first layer's input is large at step 1",
    },
    explains=(
        "model.dead_units",
        "model.saturated_units",
        "numerics.exploding_gradient",
        "numerics.exp_overflow",
        "numerics.log_zero",
        "numerics.vanishing_gradient",
        "numerics.divide_by_zero_scale",
    ),
    intervention="divide the rate by 10",
    interventions=("scale_rate:0.1",),
    next_measurement="update ratios with a tenth of the rate",
    source="SO 37624102",
)
