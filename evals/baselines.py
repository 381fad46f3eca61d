"""What simpler answerers say about the same recordings, so that our figures have something to stand beside.

Each is a function of a `Run`. Where an answerer's own word is a symptom, it counts as right for every cause of ours
that it may stand for; the mapping is below and is meant to be generous.

- `always_lr`: the folk answer. The learning rate is too high, whatever happened.
- `loss_only`: what can be said from the loss curve alone, as most monitoring does.
- `autotrainer`: the five rules of AutoTrainer (Zhang, Zhai, Ma, Shen: "AUTOTRAINER: An Automatic DNN Training Problem
  Detection and Repair System", ICSE 2021) with the thresholds of its published defaults, written anew over our tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from aitia.engine.store.reader import Run
from aitia.evals.score import Reply

Series = npt.NDArray[np.float64]

RISES = frozenset({
    "optimizer.lr_too_high", "loop.missing_zero_grad", "loss.sign_flipped", "loss.reduction_scale",
    "numerics.exploding_gradient", "loop.accumulation_not_normalized",
})  # fmt: skip
NOT_A_NUMBER = frozenset({
    "numerics.exploding_gradient", "optimizer.lr_too_high", "numerics.log_zero", "numerics.exp_overflow",
    "numerics.sqrt_at_zero_backward", "data.nan_or_inf_input",
})  # fmt: skip
FLAT = frozenset({"optimizer.lr_too_low", "optimizer.frozen_by_mistake", "numerics.vanishing_gradient"})
VANISHING = frozenset({"numerics.vanishing_gradient", "model.saturated_units", "init.wrong_scale"})
EXPLODING = frozenset({"numerics.exploding_gradient", "optimizer.lr_too_high", "init.wrong_scale"})
DYING = frozenset({"model.dead_units"})
OSCILLATING = frozenset({"optimizer.lr_too_high"})
SLOW = frozenset({"optimizer.lr_too_low"})

# Thresholds of AutoTrainer's published defaults; names as in its paper and code.
BETA_1, BETA_2, BETA_3 = 1e-3, 1e-4, 70.0
GAMMA, ZETA, ETA, DELTA, THETA = 0.7, 0.03, 0.2, 0.01, 0.7
CHECKS = 20
"""AutoTrainer looks once per epoch; runs here are cut into this many equal parts instead."""
RISE, FALL = 1.5, 0.95
"""Of the loss's first tenth: the last tenth above 1.5 times it is a rise, above 0.95 times it no fall."""


def healthy() -> Reply:
    """Nothing found."""
    return Reply("healthy")


def accuse(*ranked: frozenset[str]) -> Reply:
    """A claim without a stated confidence."""
    return Reply("faulty", tuple(ranked))


def always_lr(run: Run) -> Reply:
    """The learning rate is too high."""
    return accuse(frozenset({"optimizer.lr_too_high"}))


def loss_only(run: Run) -> Reply:
    """NaN, rising or flat: all that a loss curve can say."""
    loss = _losses(run)
    if not len(loss):
        return Reply("unknown")
    if not np.isfinite(loss).all():
        return accuse(NOT_A_NUMBER)
    tenth = max(1, len(loss) // 10)
    first, last = float(np.mean(loss[:tenth])), float(np.mean(loss[-tenth:]))
    if first > 0 and last > RISE * first:
        return accuse(RISES)
    if first > 0 and last > FALL * first:
        return accuse(FLAT)
    return healthy()


def autotrainer(run: Run) -> Reply:
    """AutoTrainer's decision: explosion by NaN; else, where accuracy is poor, dying, exploding, vanishing or slow."""
    loss, accuracy = _losses(run), _accuracy(run)
    gradients = run.wide("param").values["grad_norm"].astype(np.float64)
    if (len(loss) and not np.isfinite(loss).all()) or _has_nan(run):
        return accuse(EXPLODING)
    if not len(accuracy):
        return healthy()  # its rules need an accuracy; a regression has none
    gains = np.diff(accuracy)
    slow = len(gains) > 0 and float(gains.max()) < DELTA
    if float(accuracy.max()) < THETA or slow:
        named = _by_gradients(run, gradients) or (SLOW if slow else None)
    else:
        named = OSCILLATING if _oscillates(accuracy) else None
    return accuse(named) if named else healthy()


def _by_gradients(run: Run, gradients: Series) -> frozenset[str] | None:
    """Dying, exploding or vanishing, by zeros and by the ratio of the first to the last kernel's gradient norm."""
    if _zero_share(run) >= GAMMA:
        return DYING
    kernels = [p.index for p in run.parameters if len(p.shape) > 1 and p.in_model and p.index < gradients.shape[1]]
    if len(kernels) < 2 or not len(gradients):
        return None
    first, last = _median(gradients[:, kernels[0]]), _median(gradients[:, kernels[-1]])
    if not last > 0:
        return None
    if first / last > BETA_3:
        return EXPLODING
    return VANISHING if first / last < BETA_1 and first < BETA_2 else None


def _median(values: Series) -> float:
    """Median of what was measured; NaN where nothing was."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def _losses(run: Run) -> Series:
    """Training losses: the roots of backward, or what loss functions returned where no backward was seen."""
    roots = run.table("backward")["loss"]
    if len(roots):
        return roots
    table = run.table("loss")
    values: Series = table["value"][table["grad"] == 1]
    return values


def _accuracy(run: Run) -> Series:
    """Training accuracy, one value per part of the run."""
    table = run.table("loss")
    values = table["accuracy"][(table["grad"] == 1) & np.isfinite(table["accuracy"])]
    return (
        np.array([part.mean() for part in np.array_split(values, min(CHECKS, len(values)))]) if len(values) else values
    )


def _zero_share(run: Run) -> float:
    """Share of exact zeros over all gradients, at the median step."""
    wide = run.wide("param").values["grad_zero_share"]
    sizes = np.array([float(np.prod(p.shape)) for p in run.parameters][: wide.shape[1]])
    if not wide.size or not len(sizes):
        return 0.0
    known = np.isfinite(wide)
    weight = known * sizes
    total = weight.sum(axis=1)
    shares = np.where(known, wide, 0.0) * sizes
    ratio = shares.sum(axis=1)[total > 0] / total[total > 0]
    return float(np.median(ratio)) if len(ratio) else 0.0


def _has_nan(run: Run) -> bool:
    wide = run.wide("param").values
    return bool(np.nansum(wide["grad_nonfinite"]) > 0 or np.nansum(wide["weight_nonfinite"]) > 0)


def _oscillates(accuracy: Series) -> bool:
    """Whether at least a share ETA of the checks is a swing of ZETA between neighbouring extremes."""
    inner, before, after = accuracy[1:-1], accuracy[:-2], accuracy[2:]
    high, low = inner[(inner >= before) & (inner >= after)], inner[(inner <= before) & (inner <= after)]
    swings = sum(bool(a - b >= ZETA) for a, b in zip(high, low, strict=False))
    return swings >= ETA * len(accuracy)


BASELINES: dict[str, Callable[[Run], Reply]] = {
    "always: learning rate too high": always_lr,
    "loss curve only": loss_only,
    "five rules of AutoTrainer": autotrainer,
}
"""By the name under which the report lists them."""
