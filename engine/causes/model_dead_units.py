"""Units that are zero for every input: a rectifier that never opens.

Source: discuss.pytorch.org 43814; AutoTrainer (Zhang et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Share of features that are zero for a whole batch, step after step."""
    if not len(case.layer_stat("out_dead_share")):
        return
    worst: tuple[float, str, int, bool] | None = None
    for layer in case.leaves:
        rectifier = layer.kind == "activation" and "ReLU" in layer.cls and "Leaky" not in layer.cls
        fed = layer.kind in {"linear", "conv"}
        if not rectifier and not fed:
            continue
        series = case.layer_series(layer, "out_dead_share" if rectifier else "in_dead_share")
        ok = np.isfinite(series)
        if ok.sum() < 3:
            continue
        if fed and layer is next((x for x in case.leaves if x.kind in {"linear", "conv"}), None):
            continue  # the first layer's input is the data: empty pixels are no dead units
        tail = series[ok][-max(3, int(ok.sum()) // 4) :]
        share = float(np.median(tail))
        steps = case.run.wide("layer").steps[ok]
        onset = int(steps[np.argmax(series[ok] >= 0.9 * share)]) if share > 0 else 1
        if worst is None or share > worst[0]:
            worst = (share, layer.name, onset, bool(series[ok][0] >= 0.9 * share))
    if worst is None or worst[0] < 0.8 or case.learned:
        return
    share, name, onset, from_start = worst
    yield supports(
        STRONG if share < 0.999 else DECISIVE - WEAK,
        f"{100 * share:.0f} % of the features at {name} are 0 for every sample of the batch, since step {onset}",
        tool="layer_analyzer",
        subject=name,
        step=onset,
        dead_share=share,
        onset=onset,
    )
    if case.flat:
        yield symptom(
            MODERATE, f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})", loss=case.loss.last
        )
    if from_start:
        yield symptom(WEAK, "so from the first step on")


CAUSE = Cause(
    id="model.dead_units",
    title="Rectified units are zero for every input, so no gradient passes them",
    phase="forward",
    repair="Use a leaky activation, a smaller rate, or a sane initialisation (no large negative biases).",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "then units die during the run, after large updates",
        "init.wrong_scale": "then activations shrink or grow layer by layer",
        "data.class_imbalance": "there outputs differ between samples",
    },
    explains=("numerics.vanishing_gradient", "optimizer.lr_too_low", "eval.underfit_stopped_early"),
    intervention="re-initialise the dead units with a leaky activation",
    next_measurement="zero share per unit over the whole data set",
    source="AutoTrainer (Zhang et al., ICSE 2021)",
)
