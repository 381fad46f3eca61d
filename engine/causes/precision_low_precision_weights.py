"""Weights in bfloat16 or float16: an update smaller than their last digit is rounded away.

Source: DEFault++.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

HARDLY = 0.3
"""Share of the weights that a step changes, below which most of every update is lost, though something is learned."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the weights that a step changed at all."""
    low = [p for p in case.weights if p.dtype in {"bfloat16", "float16"} and p.optimizers]
    if not low or case.n_steps < 5:
        return
    shares = [nanmedian(case.column("update_share", p.index)) for p in low]
    shares = [s for s in shares if np.isfinite(s)]
    if not shares:
        return
    share = nanmedian(shares)
    if share < 0.5:
        yield supports(
            DECISIVE if not case.learned else STRONG + WEAK if share < HARDLY and _behind(case) else MODERATE,
            f"weights are {low[0].dtype} and a step changes only {100 * share:.0f} % of them: the rest of the update is "
            "rounded away",
            tool="gradient_debugger",
            subject=case.owner(low[0].name),
            step=1,
            update_share=share,
        )
        if not case.learned:
            yield symptom(MODERATE, f"the loss stalls at {case.loss.last:.3g}", loss=case.loss.last)


def _behind(case: Case) -> bool:
    """Whether there is still something to learn: at the end of a good training updates are small by right."""
    train = case.accuracy(grad=True)
    return not train.n or train.last < case.chance + 0.9 * (1 - case.chance)


CAUSE = Cause(
    id="precision.low_precision_weights",
    title="Weights are kept in low precision, so small updates round to nothing",
    phase="step",
    repair="Keep float32 master weights and let autocast lower the precision of the compute only.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_low": "there every entry moves, a little",
        "optimizer.silent_no_update": "there dtype is full",
    },
    explains=("optimizer.lr_too_low", "optimizer.silent_no_update", "eval.underfit_stopped_early"),
    intervention="float32 parameters",
    interventions=("single_precision",),
    next_measurement="share of entries changed by a step in fp32",
    source="DEFault++",
)
