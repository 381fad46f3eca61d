"""The graph grows with every step: carried state is never detached.

Source: TAXONOMY.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

LONG = 5
"""Steps of a sequence below which what stands around the cell is as deep as the chain."""
PARTS = 2
"""Linear layers of a recurrent cell: one for the input, one for the state."""
A_STEP = 2
"""Nodes of the graph from one state to the next, at least: a product with weights and a cell that torch has fused."""


def weigh(case: Case) -> Iterator[Weight]:
    """A recurrent cell that no gradient reaches, or a graph that grows from step to step."""
    found = list(_cut(case))
    if not case.n_steps:
        yield from found
        return  # without steps, calls cannot be told by step
    found = found or list(_short(case))
    yield from found or _once(case)
    yield from _grown(case)


def _cut(case: Case) -> Iterator[Weight]:
    """Cells that ran with tracking on and are in the optimizer, but never had a gradient, while later layers have one."""
    cells = unrolled(case)
    held = [p for p in case.trainable if p.optimizers]
    silent = [p for p in held if p.layer in cells and nanmax(case.column("grad_present", p.index)) == 0]
    moving = [p for p in held if nanmax(case.column("grad_norm", p.index)) > 0]
    if silent and moving and not case.run.facts("untracked"):
        yield supports(
            DECISIVE,
            f"{listing(p.name for p in silent)} never had a gradient although the cell runs with tracking on: its state is "
            "detached before the loss can see how it came about",
            tool="gradient_debugger",
            subject=silent[0].layer,
            step=1,
            parameters=len(silent),
        )


def _short(case: Case) -> Iterator[Weight]:
    """A cell that runs many times before each backward, in a graph that is less deep than that: no chain of states.

    Depth is that of the shortest ways: it tells nothing where every step has an output of its own that the loss knows.
    """
    rows = case.run.table("step")
    passes = max(1.0, nanmedian(rows["n_backward"]))
    deep = [float(f.data.get("depth") or 0) for f in case.run.facts("graph") if not f.data.get("truncated")]
    for cell in case.kinds("rnn"):
        times = nanmedian(case.layer_series(cell, "calls")) / passes
        each = [x for x in case.kinds("linear") if nanmedian(case.layer_series(x, "calls")) / passes >= times]
        if each or not cell.cls.endswith("Cell") or not times >= LONG or not deep or max(deep) >= A_STEP * times:
            continue
        yield supports(
            DECISIVE if not case.learned else STRONG,
            f"{cell.name} runs {times:.0f} times before each backward, and the graph is only "
            f"{max(deep):.0f} nodes deep: the state is cut off between the steps, so no gradient tells what to remember",
            tool="gradient_debugger",
            subject=cell.name,
            step=1,
            calls=times,
            depth=max(deep),
        )
        return


def _once(case: Case) -> Iterator[Weight]:
    """A cell made of linear layers: each runs for every step of the sequence, and only the last runs are in the graph."""
    rows = case.run.table("step")
    passes = max(1.0, nanmedian(rows["n_backward"]))
    graphs = [f for f in case.run.facts("graph") if not f.data.get("truncated")]
    held = {p.layer for p in case.trainable}
    runs = {x.name: nanmedian(case.layer_series(x, "calls")) / passes for x in case.kinds("linear") if x.name in held}
    often = {name: times for name, times in runs.items() if times >= LONG}
    products = max((int((f.data.get("patterns") or {}).get("n_matmul") or 0) for f in graphs), default=0)
    if len(often) < PARTS or not 0 < products <= len(runs) or case.kinds("rnn") or case.run.facts("untracked"):
        return
    reached = {str(n).rpartition(".")[0] for f in graphs for n in f.data.get("reached") or []}
    if not often.keys() <= reached:
        return
    first = next(iter(often))
    yield supports(
        DECISIVE if not case.learned else STRONG + WEAK,
        f"{listing(often)} run {max(often.values()):.0f} times before each backward, and its graph holds {products} matrix products "
        f"for {len(runs)} layers: only the last runs reach the loss, so the state was cut off between the steps",
        tool="gradient_debugger",
        subject=first,
        step=1,
        calls=max(often.values()),
        products=products,
    )


def unrolled(case: Case) -> set[str]:
    """Recurrent layers that run several times a step, so that a state passes from one call to the next."""
    return {x.name for x in case.kinds("rnn") if nanmedian(case.layer_series(x, "calls")) > 1}


def _grown(case: Case) -> Iterator[Weight]:
    """Size of the autograd graph from step to step."""
    sizes = [
        (f.step, float(f.data.get("n_nodes") or 0)) for f in case.run.facts("graph") if not f.data.get("truncated")
    ]
    if len(sizes) < 4:
        return
    steps, nodes = np.asarray([s for s, _ in sizes], dtype=float), np.asarray([n for _, n in sizes])
    if nodes[-1] < 3 * nodes[0] or (np.diff(nodes) < 0).any() or np.ptp(steps) < 4:
        return
    correlation = float(np.corrcoef(steps, nodes)[0, 1])
    if correlation < 0.9:
        return
    yield supports(
        DECISIVE,
        f"the graph of one backward grew from {nodes[0]:.0f} nodes (step {steps[0]:.0f}) to {nodes[-1]:.0f} (step "
        f"{steps[-1]:.0f}): it reaches back through all earlier steps",
        tool="memory_tracker",
        step=int(steps[0]),
        first=float(nodes[0]),
        last=float(nodes[-1]),
    )
    _, seconds = case.run.scalar("backward_s")
    if len(seconds) > 20 and nanmedian(seconds[-5:]) > 2 * nanmedian(seconds[2:8]):
        yield symptom(MODERATE, f"backward became {nanmedian(seconds[-5:]) / nanmedian(seconds[2:8]):.1f} times slower")


CAUSE = Cause(
    id="graph.bptt_cut_or_grown",
    title="The recurrent state is detached at the wrong place: at every step, or never",
    phase="backward",
    repair="Detach the state once per window (h = h.detach() after backward), not inside it.",
    mistaken_for={"resource.retain_graph": "there the graph of one step keeps its size"},
    explains=(
        "resource.retain_graph",
        "resource.graph_retained_by_history",
        "graph.backward_twice",
        "graph.non_differentiable_op",
        "model.wrong_state_used",
        "eval.underfit_stopped_early",
    ),
    intervention="detach the carried state",
    next_measurement="nodes of the graph per step",
    weigh=weigh,
    source="TAXONOMY",
)
