"""The model is called for one sample at a time: many small operations where one large one does the same work.

Healthy twins: rollouts (the next input is known only after the answer), graphs and texts of different sizes, gradients that
are accumulated sample by sample to save memory.
Source: PyTorch performance tuning guide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

MANY = 8
"""Forwards of one sample within a step, below which there is little to gain."""
NEARLY_ALL = 0.8
"""Share of the steps that look like this; the last batch of an epoch may be shorter."""


def weigh(case: Case) -> Iterator[Weight]:
    """Forwards of single samples between two steps, with one backward for all of them, against the batches of the loader."""
    rows = case.run.table("batch")
    tracked = rows["grad"] == 1
    if not tracked.any() or case.n_steps < 5:
        return
    backward = case.run.table("backward")["step"]
    per_step: list[int] = []
    for step in np.unique(rows["step"][tracked]):
        here = tracked & (rows["step"] == step)
        single = here & (rows["n"] == 1)
        alone = single.sum() == here.sum() and len(np.unique(rows["root"][here])) == 1
        known = len(np.unique(rows["in_hash"][here])) > 1
        per_step.append(int(single.sum()) if alone and known and (backward == step).sum() == 1 else 0)
    counts = np.asarray(per_step)
    if (counts >= MANY).mean() < NEARLY_ALL:
        return
    usual = nanmedian(counts[counts >= MANY])
    sizes = {
        int(f.data.get("batch_size") or 0) for f in case.run.facts("loader") if f.data.get("training") is not False
    }
    fits = any(size == usual for size in sizes)
    if not fits and (not _always(counts, usual) or _answers_to_itself(case)):
        return
    context = next((f for f in case.run.facts("forward_context") if f.data.get("grad") is not False), None)
    yield supports(
        STRONG if fits else MODERATE,
        f"the model is called {usual:.0f} times with one sample each before one backward"
        + (", and the loader hands out these samples as one batch" if fits else ", in every step"),
        tool="performance_profiler",
        step=1,
        where=case.place(context),
        forwards=usual,
    )
    yield symptom(MODERATE, f"one forward of {usual:.0f} samples launches as many operations as one of a single sample")


def _always(counts: np.ndarray[tuple[int], np.dtype[np.int64]], usual: float) -> bool:
    return bool((counts == usual).mean() >= NEARLY_ALL)


def _answers_to_itself(case: Case) -> bool:
    """Whether a policy is trained: the next state follows from the answer."""
    return any(p.reward for p in case.log)


CAUSE = Cause(
    id="perf.small_kernels",
    title="Samples go through the model one by one, and launching operations takes longer than computing them",
    phase="forward",
    repair="Give the whole batch to the model at once (stack or pad the samples); fuse what stays small with torch.compile.",
    weigh=weigh,
    mistaken_for={
        "loop.accumulation_not_normalized": "there each forward has a backward of its own",
        "perf.rebuilt_every_step": "there something is constructed anew in each step",
    },
    intervention="one forward for the whole batch",
    next_measurement="step time against batch size",
    source="PyTorch performance tuning guide",
)
