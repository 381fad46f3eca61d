"""Samples come sorted: each batch shows one class, and the next one makes the model forget it.

Source: pytorch/pytorch#31771; cszn/KAIR PR 106.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Spread of the targets inside batches against between batches, and neighbours in time."""
    rows = case.calls(grad=True)
    mean, std = rows["target_mean"], rows["target_std"]
    ok = np.isfinite(mean) & np.isfinite(std)
    mean, std, n = mean[ok], std[ok], rows["n"][ok]
    if len(mean) < 20:
        return
    between = float(np.std(mean))
    within = nanmedian(std)
    total = float(np.sqrt(between**2 + np.mean(std**2)))
    size = max(2.0, nanmedian(n))
    if total <= 0:
        return
    expected = total / np.sqrt(size)
    excess = between / expected if expected > 0 else 0.0
    centred = mean - mean.mean()
    auto = float((centred[1:] * centred[:-1]).mean() / max(float((centred**2).mean()), 1e-12))
    if excess < 3.0:
        return
    loader = next((f for f in case.run.facts("loader") if f.data.get("training") is not False), None)
    ordered = loader is not None and loader.data.get("shuffle") is False
    yield supports(
        STRONG if auto > 0.3 or within < 0.3 * total else MODERATE,
        f"targets differ {excess:.1f} times more between batches than random batches would (spread inside a batch {within:.2g} "
        f"of {total:.2g}, correlation with the previous batch {auto:.2f}): the data come sorted",
        tool="layer_analyzer",
        step=1,
        where=case.place(loader),
        excess=excess,
        within=within,
        autocorrelation=auto,
    )
    if ordered:
        yield symptom(MODERATE, "the training loader does not shuffle", shuffle=False)
    held_out = case.eval_curve("accuracy")
    if held_out.n and np.isfinite(case.chance) and held_out.last > case.chance + 0.7 * (1 - case.chance):
        yield against(
            DECISIVE, f"evaluation accuracy is good all the same ({held_out.last:.2f})", accuracy=held_out.last
        )


CAUSE = Cause(
    id="data.order_not_shuffled",
    title="The training data come in sorted order, so each stretch of steps unlearns the one before",
    phase="data",
    repair="Shuffle the training data (shuffle=True, or a random permutation per epoch).",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_high": "there the loss rattles without regard to the order of the data"},
    explains=("optimizer.lr_too_high", "data.label_misaligned", "eval.underfit_stopped_early"),
    intervention="shuffle the batches' samples",
    next_measurement="target means per batch along an epoch",
    source="pytorch/pytorch#31771",
)
