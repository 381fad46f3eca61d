"""Each rank evaluates its share of the data, and the figure that is reported is one rank's alone

Source: PyTorch documentation of torch.distributed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

APART = 0.05
"""Relative difference of the ranks' evaluation losses that a reader would act on."""


def weigh(case: Case) -> Iterator[Weight]:
    """Different evaluation batches with clearly different results on each rank, and no collective that could have put them together."""
    group = case.ranks
    if group is None or not group.complete or not group.alike or any(group.use("sharded")):
        return
    calls = {name for used in group.use("collectives") for name in used or {}}
    if calls - {"broadcast", "broadcast_object_list"} or not any(group.use("wrapped")):
        return
    ends, seen = [], []
    for run in group.runs:
        table, batches = run.table("loss"), run.table("batch")
        values = table["value"][(table["grad"] == 0.0) & np.isfinite(table["value"])]
        ends.append(float(np.mean(values)) if len(values) else np.nan)
        seen.append(set(batches["in_hash"][batches["grad"] == 0.0].tolist()))
    if not np.isfinite(ends).all() or any(len(s) < 1 for s in seen) or any(seen[0] & other for other in seen[1:]):
        return
    gap = (max(ends) - min(ends)) / max(abs(e) for e in ends)
    if gap < APART:
        return
    yield supports(
        STRONG if any("print" in text for text in case.run.sources.values()) else MODERATE,
        f"each rank evaluates other data (mean losses {', '.join(f'{e:.4g}' for e in ends)}), and no collective puts the "
        "results together: what is reported is one rank's share",
        tool="layer_analyzer",
        step=max(1, case.n_steps),
        gap=gap,
    )
    if case.log:
        yield symptom(WEAK, f"{len(case.log)} figures are printed", n=len(case.log))


CAUSE = Cause(
    id="ddp.metric_not_reduced",
    title="A metric of one rank is reported as that of all",
    phase="eval",
    repair="all_reduce the sums and counts of the metric over the ranks before dividing and printing.",
    weigh=weigh,
    mistaken_for={
        "eval.metric_bug": "there the figure is wrong for the data it was computed on",
    },
    explains=(),
    intervention="all_reduce the metric",
    next_measurement="the metric of every rank",
    source="PyTorch documentation of torch.distributed",
)
