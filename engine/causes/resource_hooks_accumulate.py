"""Hooks are registered again and again.

Source: CycleGAN-VC2#4.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Number of the program's own forward hooks over time."""
    counts = [(f.step, int(f.data.get("count") or 0)) for f in case.run.facts("hooks")]
    if len(counts) < 3:
        return
    (s0, n0), (s1, n1) = counts[0], counts[-1]
    layers = max(1, len(case.run.layers))
    if n1 - n0 < max(5, 2 * layers) and n1 < n0 + 20:
        return
    rising = sum(b > a for (_, a), (_, b) in pairwise(counts))
    if rising < 2:
        return
    yield supports(
        DECISIVE,
        f"the number of forward hooks grew from {n0} (step {s0}) to {n1} (step {s1})",
        tool="memory_tracker",
        step=s0,
        where=case.place(case.run.facts("hooks")[-1]),
        first=n0,
        last=n1,
    )
    _, seconds = case.run.scalar("step_s")
    if len(seconds) > 20 and nanmedian(seconds[-10:]) > 1.3 * nanmedian(seconds[5:15]):
        yield symptom(MODERATE, f"steps got {nanmedian(seconds[-10:]) / nanmedian(seconds[5:15]):.1f} times slower")


CAUSE = Cause(
    id="resource.hooks_accumulate",
    title="Forward hooks are registered again and again and never removed",
    phase="loop",
    repair="Register once, or remove the handle (handle.remove()).",
    mistaken_for={"resource.graph_retained_by_history": "there no hooks are added"},
    explains=("resource.out_of_memory", "resource.graph_retained_by_history"),
    intervention="none at run time",
    next_measurement="hooks per module over time",
    weigh=weigh,
    source="CycleGAN-VC2#4",
)
