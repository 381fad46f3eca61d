"""Units that are zero for every input: a rectifier that never opens.

Source: discuss.pytorch.org 43814; AutoTrainer (Zhang et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Share of features that are zero for a whole batch, step after step."""
    dead = case.dead
    if dead is None or dead.share < 0.8 or case.learned:
        return
    share, name, onset = dead.share, dead.layer, dead.onset
    from_start = dead.share_first >= 0.9 * share
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
    interventions=("leaky_activations", "reinitialise"),
    next_measurement="zero share per unit over the whole data set",
    source="AutoTrainer (Zhang et al., ICSE 2021)",
)
