"""Graphs are kept after backward though nobody comes back to them.

Source: PyTorch documentation, torch.autograd.backward.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import STRONG, WEAK, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """retain_graph on (nearly) every backward, and one backward per loss."""
    flags = case.run.table("backward")["retain_graph"]
    if len(flags) < 10 or float(np.mean(flags == 1)) < 0.9 or len(case.run.optimizers) > 1:
        return
    _, seconds = case.run.scalar("step_s")
    slower = len(seconds) > 30 and nanmedian(seconds[-10:]) > 1.5 * nanmedian(seconds[5:15])
    facts = case.run.facts("memory")
    live = max((float(f.data.get("live_graphs") or 0) for f in facts), default=0.0)
    if not slower and live < 10:
        return
    yield supports(
        STRONG + WEAK,
        f"backward keeps its graph on {100 * float(np.mean(flags == 1)):.0f} % of the calls"
        + (
            f", and steps became {nanmedian(seconds[-10:]) / nanmedian(seconds[5:15]):.1f} times slower"
            if slower
            else ""
        ),
        tool="memory_tracker",
        step=1,
        live_graphs=live,
    )


CAUSE = Cause(
    id="resource.retain_graph",
    title="retain_graph=True keeps every graph alive",
    phase="backward",
    repair="Remove retain_graph=True, and detach what is carried from step to step.",
    mistaken_for={"resource.graph_retained_by_history": "there losses are kept in a list"},
    explains=("resource.graph_retained_by_history", "resource.out_of_memory"),
    intervention="retain_graph=False",
    interventions=("no_retained_graph",),
    next_measurement="memory and time per step",
    weigh=weigh,
    source="PyTorch documentation, torch.autograd.backward",
)
