"""A second backward through a graph that was freed.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

_PATTERNS = ("backward through the graph a second time",)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(failure, _PATTERNS, ("RuntimeError",)):
        return
    yield from struck(case, failure, "a tensor carries the graph of an earlier step")


CAUSE = Cause(
    id="graph.backward_twice",
    title="backward runs a second time through a graph that was freed",
    phase="backward",
    repair="Detach the state that is carried from one step to the next (h = h.detach()), or sum the losses and call backward once.",
    mistaken_for={"graph.inplace_modification": "there the graph is alive and a value in it was changed"},
    intervention="detach carried state",
    next_measurement="where the carried tensor was made",
    weigh=weigh,
    source="PyTorch FAQ",
)
