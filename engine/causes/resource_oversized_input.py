"""Images blown up far beyond the detail they hold: memory and time go into pixels that repeat their neighbours.

Healthy twin: large images with detail in them.
Source: TrainCheck pytorch-forum-84911.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

HEAVY = 20.0
"""Activations over parameters, in bytes, from which on the input's size decides about memory."""


def weigh(case: Case) -> Iterator[Weight]:
    """What is lost when the images are shrunk, and what their size costs."""
    fact, memory = case.run.fact("input_detail"), case.run.facts("memory")
    factor = int(fact.data.get("factor") or 1) if fact else 1
    if fact is None or factor <= 1:
        return
    activations = max((float(f.data.get("activation_bytes") or 0) for f in memory), default=0.0)
    parameters = max((float(f.data.get("parameter_bytes") or 0) for f in memory), default=0.0)
    crashed = case.run.info.failure is not None
    if not crashed and not activations > HEAVY * parameters > 0:
        return
    shape = "x".join(str(n) for n in fact.data.get("shape") or [])
    yield supports(
        STRONG + WEAK,
        f"the images ({shape}) can be shrunk {factor}-fold and blown up again with nothing lost, while activations take "
        f"{activations / 1e6:.3g} MB and parameters {parameters / 1e6:.2g} MB",
        tool="memory_tracker",
        step=1,
        where=case.place(fact),
        factor=factor,
        activation_bytes=activations,
        parameter_bytes=parameters,
    )
    if crashed and "memory" in str(case.run.info.failure):
        yield symptom(MODERATE, "the run ended for want of memory")


CAUSE = Cause(
    id="resource.oversized_input",
    title="Inputs are blown up far beyond the detail they hold, which costs memory and time",
    phase="data",
    repair="Resize to the resolution of the data (memory and time fall with the square of the factor).",
    weigh=weigh,
    mistaken_for={
        "resource.graph_retained_by_history": "there memory grows with the steps, here it is high from the first"
    },
    explains=("resource.out_of_memory", "resource.loader_bound"),
    intervention="shrink the images",
    next_measurement="loss with images of half the size",
    source="TrainCheck pytorch-forum-84911",
)
