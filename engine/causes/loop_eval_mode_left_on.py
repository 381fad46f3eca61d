"""Training goes on in eval mode after the first validation: no dropout, frozen batch statistics.

Source: wkentaro/pytorch-fcn#57; joeynmt#184; small-text#40.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports

MODAL = ("dropout", "norm")


def weigh(case: Case) -> Iterator[Weight]:
    """Gradient-tracked forwards with the training flag off, in a model that has layers which care."""
    rows = case.run.table("batch")
    tracked = rows["grad"] == 1
    if tracked.sum() < 4 or case.n_steps < 4:
        return
    modal = [x for x in case.run.layers if x.kind in MODAL and _cares(x.cls, x.config)]
    if not modal:
        return
    back_steps = set(case.run.table("backward")["step"].astype(int).tolist())
    used = tracked & np.isin(rows["step"].astype(int), list(back_steps))
    off = used & (rows["training"] == 0)
    share = float(off.sum() / max(1, used.sum()))
    if share < 0.3:
        return
    began_on = bool((rows["training"][used][:1] == 1).any())
    first = int(rows["step"][off][0])
    turned = [f for f in case.run.facts("mode") if f.data.get("training") is False]
    yield supports(
        DECISIVE if began_on else STRONG,
        f"{100 * share:.0f} % of the training forwards ran with the model in eval mode"
        + (f", from step {first} on, after the first evaluation" if began_on else ", from the first step")
        + f"; {listing(x.name for x in modal)} behave differently there",
        tool="layer_analyzer",
        subject=modal[0].name,
        step=first,
        where=case.place(turned[0]) if turned else None,
        eval_share=share,
        first_step=first,
    )
    if not began_on and any(not p.requires_grad for p in case.run.parameters):
        yield against(MODERATE, "part of the model is frozen: fine-tuning in eval mode may be deliberate")


def _cares(cls: str, config: dict[str, object]) -> bool:
    if "Dropout" in cls:
        return bool(config.get("p", 0.5))
    return "BatchNorm" in cls or "InstanceNorm" in cls


CAUSE = Cause(
    id="loop.eval_mode_left_on",
    title="The model stays in eval mode after validation, so dropout and batch statistics are off in training",
    phase="loop",
    repair="Call model.train() at the start of every training epoch.",
    weigh=weigh,
    mistaken_for={"eval.overfit": "there the training flag is on"},
    explains=("eval.overfit", "loop.freeze_undone_by_train"),
    intervention="force training mode in gradient-tracked forwards",
    interventions=("train_with_gradients",),
    next_measurement="training flag of every forward",
    source="wkentaro/pytorch-fcn#57",
)
