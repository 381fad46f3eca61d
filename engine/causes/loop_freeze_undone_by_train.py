"""Frozen normalisation layers go on moving, because train() switches them back on.

Source: poppinace/indexnet_matting#35; Lightning-AI/pytorch-lightning#15062.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import LayerInfo


def weigh(case: Case) -> Iterator[Weight]:
    """Batch norms whose weights are frozen but whose training flag is on."""
    frozen = {p.layer for p in case.run.parameters if p.in_model and not p.requires_grad}
    norms = [x for x in case.run.layers if x.kind == "norm" and "Batch" in x.cls and x.name in frozen]
    norms = [x for x in norms if not case.written_by_hand(x.name)]  # the running average of another network
    moving = [x for x in norms if _training_since_frozen(case, x) > 0.5]
    if not moving or not case.trainable:
        return
    put_off = [f for f in case.run.facts("mode") + case.run.facts("mixed_modes") if f.data.get("training") is False]
    yield supports(
        STRONG if case.run.facts("load_state_dict") or put_off else MODERATE,
        f"{listing(x.name for x in moving)}: weights frozen, yet in training mode, so the running statistics follow the new data",
        tool="layer_analyzer",
        subject=moving[0].name,
        step=1,
        where=case.place(put_off[0]) if put_off else None,
        layers=len(moving),
    )
    train, held_out = case.accuracy(grad=True), case.eval_curve("accuracy")
    if train.n > 3 and held_out.n and held_out.last < train.last - 0.15:
        yield symptom(
            WEAK + MODERATE,
            f"accuracy {train.last:.2f} in training mode against {held_out.last:.2f} in evaluation",
            train=train.last,
            evaluation=held_out.last,
        )


def _training_since_frozen(case: Case, layer: LayerInfo) -> float:
    """Median training flag of a layer in the steps after its weights were frozen."""
    own = set(layer.parameters)
    frozen_at = [f.step for f in case.run.facts("coverage") if own & set(map(str, f.data.get("frozen") or []))]
    if not frozen_at:
        return 0.0
    steps = case.run.wide("layer").steps
    return nanmedian(case.layer_series(layer, "training")[steps >= min(frozen_at)])


CAUSE = Cause(
    id="loop.freeze_undone_by_train",
    title="model.train() puts frozen batch-norm layers back into training mode: their statistics drift",
    phase="loop",
    repair="Put the frozen layers into eval mode after every model.train() (override train() of the frozen part).",
    weigh=weigh,
    mistaken_for={"eval.mode_not_eval": "there validation itself runs in training mode"},
    explains=("eval.overfit",),
    intervention="keep frozen modules in eval mode",
    interventions=("keep_frozen_in_evaluation",),
    next_measurement="running statistics of the frozen layers over time",
    source="Lightning-AI/pytorch-lightning#15062",
)
