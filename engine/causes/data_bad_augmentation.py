"""Augmentation that destroys what the label says: training samples are much harder than the real ones.

Healthy twins: dropout (training mode, not the samples, makes the difference), mixed samples, strong augmentation of a
model that does well on real samples.
Source: SO 57275278, 63003693, 55786384.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.records import Fact

GAP = 0.15
"""Accuracy on evaluation samples minus that on training samples, by the same weights, beyond sampling noise."""
GOOD = 0.9
"""Share of the room above chance that a model which does well on real samples reaches."""
POOR = 0.75
"""Share of the room above chance that a model which learns its training samples goes beyond."""
UNLIKE = 0.3
"""Share of the features whose means augmentation may not move: it should leave samples that could be real."""
MODE = 1.3
"""Loss of one batch in training mode over that in evaluation mode, beyond which dropout or the like does something."""
CHANGED = 0.7
"""Of the samples that should come back in later epochs fewer than this share do so unchanged."""


def weigh(case: Case) -> Iterator[Weight]:
    """Training accuracy right after each evaluation against that evaluation's, and whether samples come back unchanged."""
    train, held_out = case.accuracy(grad=True), case.eval_curve("accuracy")
    held_out = held_out if held_out.n else case.hits
    rows = next(iter(case.run.facts("rows")), None)
    loader = next((f for f in case.run.facts("loader") if f.data.get("training") is not False), None)
    size = int((loader.data.get("n_samples") or 0) if loader else 0)
    if rows is None or train.n < 20 or not math.isfinite(case.chance):
        return
    n_trained, n_again = int(rows.data.get("n_trained") or 0), int(rows.data.get("n_again") or 0)
    if n_trained < 2 * size or n_again > CHANGED * (n_trained - size):
        return  # not a second epoch, or samples are used as they are; without a loader its length is not known
    if held_out.n < 3:
        yield from _printed(case, loader) or (_unlike(case, rows, loader) if size else ())
        return
    gaps = []
    for step, there in zip(held_out.steps[:-1], held_out.values[:-1], strict=True):
        following = train.values[train.steps > step][: max(5, train.n // (2 * held_out.n))]
        if len(following) >= 5:
            gaps.append(float(there - np.nanmean(following)))
    late = gaps[len(gaps) // 2 :]
    room = (held_out.last - case.chance) / max(1e-6, 1 - case.chance)
    if len(late) < 1 or nanmedian(late) < GAP:
        if size and room < POOR:  # both are low
            yield from _unlike(case, rows, loader)
        return
    yield supports(
        STRONG,
        f"the same weights reach {held_out.last:.2f} on evaluation samples and {held_out.last - nanmedian(late):.2f} on the "
        f"next training batches; of {n_trained - size} samples after the first pass {n_again} had been seen: augmentation makes "
        "them harder than the real ones",
        tool="layer_analyzer",
        step=int(held_out.steps[0]),
        where=case.place(loader),
        gap=nanmedian(late),
        evaluation=held_out.last,
    )
    if room > GOOD:
        yield against(STRONG, f"real samples are recognised well all the same ({held_out.last:.2f})")
    else:
        yield symptom(MODERATE, f"and real samples are recognised in {100 * held_out.last:.0f} % only")
    yield from _mode(case)


def _mode(case: Case) -> Iterator[Weight]:
    """Dropout or the like may be all that makes training batches look harder."""
    gap = next(iter(case.probes.get("train_eval_gap", [])), None)
    if gap is not None:
        trained, evaluated = (float(gap.data.get(k) or math.nan) for k in ("loss_train", "loss_eval"))
        if trained > MODE * evaluated:
            yield against(
                2 * STRONG, f"training mode, not the samples, makes the difference ({trained:.3g}, {evaluated:.3g})"
            )


def _printed(case: Case, loader: Fact | None) -> list[Weight]:
    """The program's own accuracy on evaluation samples, where it is all there is, against the training batches' at the end."""
    train, printed = case.accuracy(grad=True), case.eval_accuracy
    if len(printed) < 3:
        return []
    there = float(np.median(printed[-3:]))
    if there - train.last < GAP:
        return []
    found = [
        supports(
            STRONG,
            f"accuracy on evaluation samples is {there:.2f} at the end and {train.last:.2f} on training batches, whose samples "
            "hardly ever come back unchanged: augmentation makes them harder than the real ones",
            tool="layer_analyzer",
            step=1,
            where=case.place(loader),
            gap=there - train.last,
            evaluation=there,
        )
    ]
    if (there - case.chance) / max(1e-6, 1 - case.chance) > GOOD:
        return [*found, against(STRONG, f"real samples are recognised well all the same ({there:.2f})")]
    return [*found, symptom(MODERATE, f"and real samples are recognised in {100 * there:.0f} % only"), *_mode(case)]


def _unlike(case: Case, rows: Fact, loader: Fact | None) -> Iterator[Weight]:
    """No accuracy on real samples was measured: what the features of both look like, and how little is learned."""
    share, shift = float(rows.data.get("features_shifted") or 0), float(rows.data.get("feature_shift") or 0)
    train = case.accuracy(grad=True)
    low = train.last < case.chance + POOR * (1 - case.chance)
    if share < UNLIKE or shift < 6 * float(rows.data.get("feature_error") or 1) or not low:
        return
    yield supports(
        STRONG,
        f"training samples hardly ever come back unchanged, and what augmentation makes of them is unlike the real ones: the "
        f"means of {100 * share:.0f} % of the features are off by more than half a standard deviation",
        tool="layer_analyzer",
        step=1,
        where=case.place(loader),
        features_shifted=share,
        feature_shift=shift,
    )
    yield symptom(MODERATE, f"training accuracy stays at {train.last:.2f}", accuracy=train.last)


CAUSE = Cause(
    id="data.bad_augmentation",
    title="Augmentation destroys what the labels speak of: training samples are far harder than real ones",
    phase="data",
    repair="Weaken the augmentation, and leave out what changes the label (flips of digits, quarter turns, heavy noise).",
    weigh=weigh,
    mistaken_for={
        "eval.underfit_stopped_early": "there training and evaluation samples are equally hard",
        "data.label_noise": "there samples come back unchanged from epoch to epoch",
        "loop.eval_mode_left_on": "there the mode makes the difference",
    },
    explains=("eval.underfit_stopped_early", "data.label_misaligned", "model.capacity_bottleneck"),
    intervention="train without augmentation",
    next_measurement="training accuracy of the same weights on samples that are not augmented",
    source="SO 57275278",
)
