"""A value that backward needs was overwritten.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

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
    yield from struck(case, failure, "a saved tensor was changed in place")


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
