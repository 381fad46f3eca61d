"""Every rank trains alone: nothing averages gradients or parameters between them

Source: PyTorch distributed overview.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Ranks with the same model and no wrapper, no sharding, no collective on gradients or parameters, and different weights."""
    group = case.ranks
    if group is None or not group.complete or not group.alike or any(r.facts("ddp_built") for r in group.runs):
        return
    if any(group.use("sharded")) or any(n is None or n > 0 for k in ("gradients", "parameters") for n in group.use(k)):
        return
    calls = {name for used in group.use("collectives") for name in used or {}} - {"broadcast", "broadcast_object_list"}
    drift = group.difference("weight_norm")
    if drift is None or drift.first is None or min(r.n_steps for r in group.runs) < 3:
        return
    gap = float(drift.gap[-1].max())
    yield supports(
        DECISIVE if not calls else MODERATE,
        f"{len(group.runs)} ranks train the same model and share nothing: no data-parallel wrapper, no collective on gradients "
        f"or parameters, and weights that differ from step {drift.first} on (by {gap:.1%} at the end)",
        tool="gradient_debugger",
        step=drift.first,
        where=case.optimizer_place(),
        ranks=len(group.runs),
        gap=gap,
    )
    share, n = group.same_batches
    if share < 0.5:
        yield symptom(MODERATE, f"each rank sees its own data ({share:.0%} of {n} batches in common)", share=share)


CAUSE = Cause(
    id="ddp.never_synchronised",
    title="The ranks train alone: nothing averages their gradients",
    phase="setup",
    repair="Wrap the model in DistributedDataParallel, or average the gradients before every step.",
    weigh=weigh,
    mistaken_for={
        "ddp.forward_bypasses_wrapper": "there a wrapper exists and is not called",
    },
    explains=("ddp.metric_not_reduced",),
    intervention="wrap the model",
    next_measurement="weight checksums of every rank",
    source="PyTorch distributed overview",
)
