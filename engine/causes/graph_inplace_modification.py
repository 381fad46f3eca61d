"""A value that backward needs was overwritten.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = (
    "modified by an inplace operation",
    "leaf Variable that requires grad is being used in an in-place",
    "view of a leaf Variable",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(failure, _PATTERNS, ("RuntimeError",)):
        return
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: a saved tensor was changed in place",
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
    id="graph.inplace_modification",
    title="A tensor that backward needs was modified in place",
    phase="backward",
    repair="Use the out-of-place form (x = x + y instead of x += y; inplace=False), or run backward before the step that changes it.",
    mistaken_for={"graph.backward_twice": "there the graph was freed"},
    intervention="none at run time",
    next_measurement="version counter of the tensors saved for backward",
    weigh=weigh,
    source="PyTorch FAQ",
)
