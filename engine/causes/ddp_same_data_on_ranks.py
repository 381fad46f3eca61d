"""Every rank trains on the same batches: the work is done several times, the speed-up is lost

Source: PyTorch documentation of DistributedSampler.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

SAME = 0.9
"""Share of batches in common; ranks that share a data set meet an equal batch by chance almost never."""


def weigh(case: Case) -> Iterator[Weight]:
    """Training batches with the same content on two ranks at the same place."""
    group = case.ranks
    if group is None or not group.alike:
        return
    if not any(group.use("wrapped")) and not any(group.use("gradients")):
        return
    share, n = group.same_batches
    if share < SAME or n < 5:
        return
    facts = [f for f in case.run.facts("loader") if f.data.get("training")]
    sampler = str(facts[0].data.get("sampler")) if facts else ""
    yield supports(
        DECISIVE,
        f"{share:.0%} of the first {n} training batches are the same on {len(group.runs)} ranks"
        + (f" (the loader draws by {sampler})" if sampler else ""),
        tool="layer_analyzer",
        step=1,
        where=case.place(facts[0]) if facts else None,
        share=share,
        n=n,
    )


CAUSE = Cause(
    id="ddp.same_data_on_ranks",
    title="All ranks train on the same data",
    phase="data",
    repair="Give every rank its share: DistributedSampler(dataset), or dataset[rank::world_size].",
    weigh=weigh,
    mistaken_for={
        "data.repeated_batch": "there one rank sees the same batch again and again",
    },
    explains=(),
    intervention="use a DistributedSampler",
    next_measurement="hash of every batch on every rank",
    source="PyTorch documentation of DistributedSampler",
)
