"""Ranks have different numbers of batches, and a collective waits for one that never comes

Source: PyTorch documentation of DistributedDataParallel.join; pytorch/pytorch#38174.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom
from aitia.engine.records import RunStatus

_LOST = re.compile(r"connection closed|timed out|timeout|peer|gloo|nccl|socket|store", re.IGNORECASE)
"""How a collective says that the others are gone."""


def weigh(case: Case) -> Iterator[Weight]:
    """Different numbers of training forwards, and an end that is not a common one."""
    group = case.ranks
    if group is None or any(group.use("joined")) or any(r.info.status is RunStatus.RUNNING for r in group.runs):
        return
    counts = group.n_forward
    if max(counts) - min(counts) < 1 or not (any(group.use("wrapped")) or any(group.use("gradients"))):
        return
    longest = group.runs[counts.index(max(counts))].info
    shortest = group.runs[counts.index(min(counts))].info
    waited = longest.status is RunStatus.KILLED or (
        longest.failure is not None and _LOST.search(longest.failure.message)
    )
    if not waited or shortest.status not in {RunStatus.FINISHED, RunStatus.KILLED}:
        return
    told = ", ".join(f"rank {r.info.rank}: {n}" for r, n in zip(group.runs, counts, strict=True))
    yield supports(
        DECISIVE if shortest.status is RunStatus.FINISHED else STRONG,
        f"ranks made different numbers of training forwards ({told}); the longest one ended {longest.status} while the "
        f"shortest one ended {shortest.status}",
        tool="error_diagnoser",
        step=min(counts) + 1,
        where=case.site_place(),
        most=max(counts),
        least=min(counts),
    )
    batches = [f.data.get("n_batches") for r in group.runs for f in r.facts("loader") if f.data.get("training")]
    if len({b for b in batches if b is not None}) > 1:
        yield symptom(MODERATE, f"their training loaders have {sorted({b for b in batches if b is not None})} batches")


CAUSE = Cause(
    id="ddp.uneven_steps",
    title="Ranks have different numbers of steps, and one waits for ever",
    phase="data",
    repair="Give all ranks the same number of batches (DistributedSampler, drop_last=True), or train inside model.join().",
    weigh=weigh,
    mistaken_for={
        "loop.worker_died": "there a loader's own process died",
    },
    explains=("loop.worker_died",),
    intervention="cut to the least number of batches",
    next_measurement="number of batches of every rank",
    source="PyTorch documentation of DistributedDataParallel.join; pytorch/pytorch#38174",
)
