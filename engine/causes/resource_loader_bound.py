"""The training waits for its data.

Source: SO 48400225.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the step spent waiting for the loader."""
    _, wait = case.run.scalar("data_s")
    _, step = case.run.scalar("step_s")
    if len(step) < 20 or not np.isfinite(wait).any():
        return
    total = float(np.nansum(step[2:]))
    share = float(np.nansum(wait[2:])) / total if total > 0 else 0.0
    if share < 0.6 or nanmedian(wait) < 0.005:
        return
    loader = case.run.fact("loader")
    workers = loader.data.get("num_workers") if loader else None
    yield supports(
        STRONG,
        f"{100 * share:.0f} % of the time the training waits for the loader ({1000 * nanmedian(wait):.1f} ms per step, "
        f"num_workers = {workers})",
        tool="performance_profiler",
        step=1,
        where=case.place(loader),
        share=share,
        wait_s=nanmedian(wait),
    )
    if workers == 0:
        yield symptom(MODERATE, "loading happens in the training process itself", num_workers=0)


CAUSE = Cause(
    id="resource.loader_bound",
    title="The training spends most of its time waiting for data",
    phase="data",
    repair="Move the work out of __getitem__ (cache, decode once), use workers, keep the loader alive.",
    mistaken_for={"perf.rebuilt_every_step": "there the loader itself is built again and again"},
    intervention="cached batches",
    next_measurement="time per sample in the data set",
    weigh=weigh,
    source="SO 48400225",
)
