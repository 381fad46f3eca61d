"""What is learned in training does not hold outside it.

Source: DeepCrime RRW; DEFault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, against, supports


def weigh(case: Case) -> Iterator[Weight]:
    """A gap between training and evaluation that opens after a common phase."""
    train, held_out = case.train_curve("value"), case.eval_curve("value")
    if train.n < 10 or held_out.n < 4:
        return
    best_at = int(np.nanargmin(held_out.values))
    best, last = float(held_out.values[best_at]), float(np.nanmedian(held_out.values[-max(1, held_out.n // 5) :]))
    acc_t, acc_e = case.accuracy(grad=True), case.eval_curve("accuracy")
    falls = train.fall > 0.5
    rises = last > 1.3 * best and best_at < held_out.n - 2
    if not (falls and rises):
        return
    if _restored(case, int(held_out.steps[best_at])):
        return  # the best state was kept and loaded back: what came after it does no harm
    if acc_e.n and acc_t.n:
        sinking = acc_e.highest - acc_e.last > 0.03
        gap = acc_t.last - acc_e.last
        if gap < 0.08:
            return
        if not sinking and gap < 0.15:
            yield against(
                STRONG, f"evaluation accuracy keeps its level ({acc_e.last:.2f}): over-confidence, not forgetting"
            )
        if math.isfinite(case.chance) and acc_e.highest < case.chance + 0.1 * (1 - case.chance):
            yield against(MODERATE, "evaluation never left chance: overfitting begins above it", accuracy=acc_e.highest)
    yield supports(
        STRONG + WEAK,
        f"evaluation loss fell to {best:.3g} at step {held_out.steps[best_at]} and rose to {last:.3g}, while training "
        f"loss went from {train.first:.3g} to {train.last:.3g}",
        tool="layer_analyzer",
        step=int(held_out.steps[best_at]),
        best=best,
        last=last,
        train_last=train.last,
    )


def _restored(case: Case, best: int) -> bool:
    """Whether a state was taken after the best evaluation, and a copy of it was loaded when training was over."""
    taken = any(best in (f.data.get("steps") or []) for f in case.run.facts("states_taken"))
    loads = case.run.facts("load_state_dict")
    return taken and any(
        f.step > case.n_steps and f.data.get("aliased") is False and f.data.get("matched") for f in loads
    )


CAUSE = Cause(
    id="eval.overfit",
    title="The model memorises the training data",
    phase="eval",
    repair="Regularise (dropout, weight decay, augmentation), use more data or a smaller model, stop at the best evaluation.",
    mistaken_for={
        "data.label_misaligned": "there evaluation never leaves chance",
        "eval.mode_not_eval": "there evaluation runs in training mode",
        "eval.preprocessing_mismatch": "there the inputs differ",
    },
    intervention="stop at the best evaluation",
    next_measurement="evaluation loss per epoch",
    weigh=weigh,
    source="DEFault",
)
