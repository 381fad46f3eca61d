"""Steps so small that over the whole run the weights have hardly moved.

Healthy twin: warm-up, fine-tuning of a model that is already good, the tail of a cosine.
Source: SO 59106542, 44998910.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom

MOVED = 0.03
"""A path shorter than 3 % of the weight norm over a whole run cannot have rebuilt random weights."""


def weigh(case: Case) -> Iterator[Weight]:
    """The whole path of the weights against their size, with gradients that are healthy."""
    if case.n_steps < 20:
        return
    paths = []
    for p in case.weights:
        if not p.optimizers:
            continue
        ratios = case.update_ratio[:, p.index]
        measured = np.isfinite(ratios)
        if measured.sum() >= 3:
            paths.append(float(np.mean(ratios[measured])) * case.n_steps)
    if not paths:
        return
    path, longest = nanmedian(paths), max(paths)
    _, lr = case.run.scalar("lr")
    lr = lr[np.isfinite(lr)]
    norms = [case.median("grad_norm", p) for p in case.weights]
    gradient = max((n for n in norms if math.isfinite(n)), default=0.0)
    if not gradient > 0 or longest == 0:
        return
    if longest >= MOVED:
        return
    ratio = nanmedian(case.update_ratio[:, [p.index for p in case.weights]].ravel())
    decayed = len(lr) > 0 and lr[0] > 0 and lr.max() > 20 * np.median(lr)
    if decayed:
        yield against(
            STRONG,
            f"the rate began at {lr.max():.3g} and was taken down to {np.median(lr):.3g} during the run",
            lr_max=float(lr.max()),
            lr_median=float(np.median(lr)),
        )
    yield supports(
        DECISIVE if not case.learned else MODERATE,
        f"in {case.n_steps} steps the weights moved by {100 * path:.2g} % of their norm (median update ratio {ratio:.1e} "
        f"per step) although gradients are healthy (norm {gradient:.3g}); learning rate {nanmedian(lr):.3g}",
        tool="gradient_debugger",
        subject=None,
        step=1,
        where=case.optimizer_place(),
        path=path,
        update_ratio=ratio,
        lr=nanmedian(lr),
        grad_norm=gradient,
    )
    if case.learned:
        yield against(STRONG, "the loss fell clearly all the same", fall=case.loss.fall)
    elif 0 < case.loss.fall < 0.25:
        yield symptom(
            MODERATE, f"the loss creeps down smoothly ({100 * case.loss.fall:.1f} % over the run)", fall=case.loss.fall
        )


CAUSE = Cause(
    id="optimizer.lr_too_low",
    title="The learning rate is far too small: the weights hardly move",
    phase="step",
    repair="Raise the learning rate (a thousandth of the weight norm per step is usual), or sweep it by factors of three.",
    weigh=weigh,
    mistaken_for={
        "optimizer.stale_param_reference": "there the updates are exactly 0",
        "scheduler.stepped_per_batch": "there the rate starts well and is taken down",
        "amp.clip_before_unscale": "there the gradient is cut to almost nothing before it is used",
    },
    explains=("eval.underfit_stopped_early",),
    intervention="multiply the rate by 30",
    interventions=("scale_rate:30",),
    next_measurement="update norm over weight norm per step",
    source="SO 59106542",
)
