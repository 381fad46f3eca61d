"""Samples come sorted: each batch shows one class, and the next one makes the model forget it.

Source: pytorch/pytorch#31771; cszn/KAIR PR 106.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.store.reader import Array

KEPT = 0.3
"""Share of the first epoch's loss under which every batch of the last epoch stays when no stretch unlearns another."""
WINDOW = 24
"""Batches compared with each other where no loader tells the length of an epoch; a change of task in between is one jump."""


def weigh(case: Case) -> Iterator[Weight]:
    """Spread of the targets inside batches against between the batches of one epoch."""
    loader = next((f for f in case.run.facts("loader") if f.data.get("training") is not False), None)
    window = int((loader.data.get("n_batches") if loader else 0) or 0) or WINDOW
    batch = case.run.table("batch")
    samples = nanmedian(batch["n"][batch["grad"] == 1])  # targets inside one sample (tokens, pixels) are alike
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        streams = [_excess(stream, max(6, min(window, 200)), samples) for stream in _streams(rows)]
        found = [s for s in streams if s is not None]
        if not found or len(found) < len(streams):
            continue
        excess, within = min(found)
        if excess < 2.5:
            continue
        ordered = loader is not None and loader.data.get("shuffle") is False
        yield supports(
            STRONG,
            f"within an epoch the targets differ {excess:.1f} times more between batches than they would in random batches "
            f"(spread inside a batch: {100 * within:.0f} % of the whole): the data come sorted",
            tool="layer_analyzer",
            step=1,
            where=case.place(loader),
            excess=excess,
            within=within,
        )
        if ordered:
            yield symptom(MODERATE, "the training loader does not shuffle", shuffle=False)
        values = case.calls(grad=True, site=site.index)["value"]
        worst, first = float(np.nanmax(values[-window:])), nanmedian(values[:window])
        if len(values) > 2 * window and first > 0 and worst < KEPT * first:
            yield against(
                DECISIVE, f"nothing is unlearned: over the last {window} batches the loss stays under {worst:.3g}"
            )
        accuracy = case.eval_accuracy
        if len(accuracy) and math.isfinite(case.chance):
            room = 1 - case.chance
            if accuracy[-1] > case.chance + 0.7 * room:
                yield against(DECISIVE, f"evaluation accuracy is good all the same ({accuracy[-1]:.2f})")
            elif accuracy[-1] < case.chance + 0.5 * room:
                yield symptom(
                    MODERATE, f"evaluation accuracy stays at {accuracy[-1]:.2f}", accuracy=float(accuracy[-1])
                )
        return


def _streams(rows: dict[str, Array]) -> list[dict[str, Array]]:
    """A site that is called several times in a step serves several kinds of targets: one stream for each place."""
    steps = rows["step"].astype(np.int64)
    if not len(steps):
        return []
    starts = np.r_[True, steps[1:] != steps[:-1]]
    place = np.arange(len(steps)) - np.maximum.accumulate(np.where(starts, np.arange(len(steps)), 0))
    streams = min(int(np.median(np.diff(np.r_[np.flatnonzero(starts), len(steps)]))), 4)
    return [{name: column[place == k] for name, column in rows.items()} for k in range(max(1, streams))]


def _excess(rows: dict[str, Array], window: int, samples: float) -> tuple[float, float] | None:
    """(between-batch spread over what chance gives, share of the spread that lies inside batches), median over windows."""
    mean, std = rows["target_mean"], rows["target_std"]
    n = np.fmin(rows["n"] * np.where(rows["valid_share"] > 0, rows["valid_share"], 1.0), samples)
    ok = np.isfinite(mean) & np.isfinite(std)
    mean, std, n = mean[ok], std[ok], n[ok]
    if len(mean) < 2 * 6:
        return None
    excesses, withins = [], []
    for start in range(0, len(mean) - window // 2, window):
        m, s = mean[start : start + window], std[start : start + window]
        if len(m) < 6:
            continue
        total = math.sqrt(float(np.var(m)) + float(np.mean(s**2)))
        expected = total / math.sqrt(max(2.0, nanmedian(n[start : start + window])))
        if total > 0:
            excesses.append(float(np.std(m)) / expected)
            withins.append(math.sqrt(float(np.mean(s**2))) / total)
    return (nanmedian(excesses), nanmedian(withins)) if excesses else None


CAUSE = Cause(
    id="data.order_not_shuffled",
    title="The training data come in sorted order, so each stretch of steps unlearns the one before",
    phase="data",
    repair="Shuffle the training data (shuffle=True, or a random permutation per epoch).",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_high": "there the loss rattles without regard to the order of the data"},
    explains=("optimizer.lr_too_high", "data.label_misaligned", "eval.underfit_stopped_early", "data.class_imbalance"),
    intervention="shuffle the batches' samples",
    interventions=("shuffle",),
    next_measurement="target means per batch along an epoch",
    source="pytorch/pytorch#31771",
)
