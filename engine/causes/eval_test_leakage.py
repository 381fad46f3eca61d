"""Samples that evaluation asks for were trained on: duplicates across the split, or a new split in every epoch.

Healthy twins: the training set evaluated as a whole beside the test set; folds of a cross-validation, each with a model of its own.
Source: GotenNet#10; RRT-MIL#22; SWnet#2.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

SHARE = 0.05
"""A few equal samples may stand in any data; one in twenty does not by chance."""
MOSTLY = 0.5
"""Share of the evaluation batches that hold both kinds: a training set that is evaluated has batches of one kind only."""
ENOUGH = 40


def weigh(case: Case) -> Iterator[Weight]:
    """Fingerprints of evaluated samples among those trained on before."""
    for fact in case.run.facts("rows"):
        n, met, batches, mixed = (
            int(fact.data.get(k) or 0) for k in ("n_evaluated", "n_met", "n_batches", "n_partial")
        )
        if n < ENOUGH or not batches or met < SHARE * n or mixed < MOSTLY * batches:
            continue
        yield supports(
            DECISIVE,
            f"{100 * met / n:.0f} % of the {n} evaluated samples had been trained on before, to the last digit, and "
            f"{mixed} of {batches} evaluation batches hold both kinds: the split leaks",
            tool="layer_analyzer",
            step=max(1, fact.step),
            share=met / n,
            evaluated=n,
        )
        held_out = case.eval_curve("accuracy")
        if held_out.n:
            yield symptom(MODERATE, f"its accuracy of {held_out.last:.2f} says little about new samples")
        return


CAUSE = Cause(
    id="eval.test_leakage",
    title="Evaluation samples were trained on: the split leaks",
    phase="eval",
    repair="Remove duplicates first, split once by sample (or by group), and keep that split for the whole run.",
    weigh=weigh,
    mistaken_for={"eval.metric_bug": "there the metric is computed wrongly, on samples that are new"},
    intervention="evaluate only samples that were never trained on",
    next_measurement="fingerprints of evaluated samples among those trained on",
    source="RRT-MIL#22",
)
