"""The memory did not suffice.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

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
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: memory ran out",
        tool="error_diagnoser",
        subject=failure.module,
        step=case.n_steps + 1,
        where=failure_place(failure),
        phase=failure.phase,
        type=failure.type,
    )
    if failure.module and failure.inputs:
        shapes = ", ".join(f"{k} {v}" for k, v in failure.parameters.items()) or "no parameters"
        yield supports(
            MODERATE,
            f"{failure.module} received {', '.join(failure.inputs)} and holds {shapes}",
            tool="error_diagnoser",
            subject=failure.module,
        )


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
