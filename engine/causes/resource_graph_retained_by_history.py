"""Losses are kept with their graphs: memory grows with every step.

Source: PyTorch FAQ; pytorch/pytorch#64586.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Autograd graphs that are still alive long after their step, and memory that grows with them."""
    facts = case.run.facts("memory")
    live = [(f.step, float(f.data.get("live_graphs") or 0)) for f in facts]
    if len(live) < 2 or max(n for _, n in live) < 10:
        return
    (s0, n0), (s1, n1) = live[0], max(live, key=lambda item: item[1])
    grows = n1 > n0 + 5 and s1 > s0
    share = n1 / max(1, s1 - 1)
    if not grows and share < 0.3:
        return
    steps, rss = case.run.scalar("rss_bytes")
    ok = np.isfinite(rss)
    per_step = float(np.polyfit(steps[ok], rss[ok], 1)[0]) if ok.sum() > 10 else 0.0
    yield supports(
        DECISIVE if share > 0.5 else STRONG,
        f"{n1:.0f} autograd graphs of earlier steps are still alive at step {s1}: something keeps loss tensors with their history",
        tool="memory_tracker",
        step=s0,
        live_graphs=n1,
        at_step=s1,
        bytes_per_step=per_step,
        where=case.place(facts[-1]),
    )
    if per_step > 10_000:
        yield symptom(MODERATE, f"memory grows by {per_step / 1e6:.2g} MB per step", bytes_per_step=per_step)


CAUSE = Cause(
    id="resource.graph_retained_by_history",
    title="Loss tensors are kept with their graphs, so memory grows with every step",
    phase="loop",
    repair="Keep numbers, not tensors: total += loss.item() (or loss.detach()).",
    mistaken_for={
        "resource.hooks_accumulate": "there hooks multiply",
        "resource.oversized_input": "there memory is flat",
    },
    explains=("resource.out_of_memory",),
    intervention="none at run time",
    next_measurement="live autograd graphs per step",
    weigh=weigh,
    source="pytorch/pytorch#64586",
)
