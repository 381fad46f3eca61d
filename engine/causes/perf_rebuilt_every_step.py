"""The loader (or the model) is built anew for every step.

Source: SO 48400225.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Loaders that are started again after one or two batches, and the time that goes into it."""
    if case.n_steps < 10:
        return
    starts: dict[str, list[int]] = {}
    for fact in case.run.facts("epoch"):
        starts.setdefault(fact.subject, []).append(int(fact.data.get("n_taken") or 0))
    for subject, taken in starts.items():
        loader = case.run.fact("loader", subject)
        batches = int(loader.data.get("n_batches") or 0) if loader else 0
        if (
            len(taken) < 8
            or batches < 3
            or np.median(taken) > 1
            or (loader is not None and loader.data.get("training") is False)
        ):
            continue
        _, wait = case.run.scalar("data_s")
        _, step = case.run.scalar("step_s")
        share = float(np.nansum(wait) / max(float(np.nansum(step)), 1e-12))
        yield supports(
            STRONG,
            f"the training loader was started again {len(taken)} times and gave one batch each time (of {batches}); "
            f"{100 * share:.0f} % of the time goes into it",
            tool="performance_profiler",
            step=1,
            where=case.place(loader),
            starts=len(taken),
            share=share,
        )
        return


CAUSE = Cause(
    id="perf.rebuilt_every_step",
    title="The data iterator is rebuilt for every step",
    phase="loop",
    repair="Build the loader once and iterate over it: for batch in loader.",
    mistaken_for={"resource.loader_bound": "there a running loader is slow"},
    intervention="none at run time",
    next_measurement="time to start the loader",
    weigh=weigh,
    source="SO 48400225",
)
