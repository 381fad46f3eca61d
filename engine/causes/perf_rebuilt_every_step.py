"""The loader (or the model) is built anew for every step.

Source: SO 48400225.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports
from aitia.engine.records import Fact

OFTEN = 0.5
"""Loaders over the same data built per optimizer step; one per epoch is far below."""

FELT = 0.1
"""Share of the time below which nobody would look for it here: a loader that is cheap to start may well be."""


def weigh(case: Case) -> Iterator[Weight]:
    """Loaders that are built or started again after one or two batches, and the time that goes into it."""
    if case.n_steps < 10:
        return
    built = list(_built_anew(case))
    if built:
        yield from built
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
            STRONG if share > FELT else MODERATE,
            f"the training loader was started again {len(taken)} times and gave one batch each time (of {batches}); "
            f"{100 * share:.0f} % of the time goes into it",
            tool="performance_profiler",
            step=1,
            where=case.place(loader),
            starts=len(taken),
            share=share,
        )
        return


def _built_anew(case: Case) -> Iterator[Weight]:
    """New loaders over the same data, one for nearly every step."""
    same: dict[tuple[object, ...], list[Fact]] = {}
    for fact in case.run.facts("loader"):
        if fact.data.get("training") is True and int(fact.data.get("n_batches") or 0) >= 3:
            same.setdefault((fact.file, fact.line, fact.data.get("n_samples")), []).append(fact)
    for facts in same.values():
        span = facts[-1].step - facts[0].step + 1
        rate = len({f.step for f in facts}) / span
        if len(facts) < 8 or rate < OFTEN:
            continue
        yield supports(
            DECISIVE,
            f"a new loader over the same {facts[0].data.get('n_samples')} samples was built {len(facts)} times in {span} "
            f"steps, and gave one batch of {facts[0].data.get('n_batches')} each time",
            tool="performance_profiler",
            step=max(1, facts[0].step),
            where=case.place(facts[-1]),
            built=len(facts),
            steps=span,
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
