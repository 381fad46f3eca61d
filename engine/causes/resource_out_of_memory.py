"""The memory did not suffice.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

_PATTERNS = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(
        failure,
        _PATTERNS,
        ("OutOfMemoryError", "RuntimeError", "MemoryError", "DefaultCPUAllocator", "_ArrayMemoryError"),
    ):
        return
    yield from struck(case, failure, "memory ran out")


CAUSE = Cause(
    id="resource.out_of_memory",
    title="Memory ran out",
    phase="forward",
    repair="Lower the batch size (with accumulation), checkpoint activations, or free what grows.",
    mistaken_for={
        "resource.graph_retained_by_history": "there memory grows step by step before the end",
        "resource.oversized_input": "there the very first step is too large",
    },
    intervention="halve the batch",
    next_measurement="memory per step against its first steps",
    weigh=weigh,
    source="PyTorch FAQ",
)
