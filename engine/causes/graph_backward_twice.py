"""A second backward through a graph that was freed.

Source: PyTorch FAQ.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = ("backward through the graph a second time",)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(failure, _PATTERNS, ("RuntimeError",)):
        return
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: a tensor carries the graph of an earlier step",
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
