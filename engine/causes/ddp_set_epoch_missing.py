"""DistributedSampler shuffles by seed and epoch, and nobody tells it the epoch: every epoch has the same order

Source: pytorch/pytorch#31771.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """A shuffling DistributedSampler whose order repeats in every epoch."""
    for fact in case.run.facts("loader"):
        if fact.data.get("sampler") != "DistributedSampler" or not fact.data.get("shuffle"):
            continue
        epochs = [f for f in case.run.facts("epoch") if f.data.get("index") == fact.data.get("index")]
        later = [f for f in epochs if int(f.data.get("epoch") or 0) > 1]
        same = sum(bool(f.data.get("same_as_previous")) for f in later)
        if not later or same < len(later) or fact.data.get("training") is False:
            continue
        yield supports(
            DECISIVE,
            f"the DistributedSampler shuffles, and yet all {len(epochs)} epochs have the same order: its epoch is never set",
            tool="layer_analyzer",
            step=later[0].step,
            where=case.place(fact),
            epochs=len(epochs),
        )
        return


CAUSE = Cause(
    id="ddp.set_epoch_missing",
    title="The distributed sampler is never told the epoch",
    phase="data",
    repair="Call sampler.set_epoch(epoch) at the beginning of every epoch.",
    weigh=weigh,
    mistaken_for={
        "data.order_not_shuffled": "there shuffling is off",
    },
    explains=(
        "data.order_not_shuffled",
        "data.duplicate_randomness",
    ),
    intervention="call set_epoch",
    next_measurement="order of the samples in two epochs",
    source="pytorch/pytorch#31771",
)
