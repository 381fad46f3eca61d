"""A loader worker ended.

Source: pytorch/pytorch issues.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = ("DataLoader worker .* (exited|is killed)", "Caught .* in DataLoader worker", "bus error")
"""Wording of torch's own errors."""


_CUT_OFF = ("ConnectionResetError", "EOFError", "BrokenPipeError", "ConnectionRefusedError")
"""What the training process meets when the other end of a worker's pipe is gone."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None:
        return
    cut_off = failure.type in _CUT_OFF and failure.phase == "data"
    if not cut_off and not same_failure(failure, _PATTERNS, ()):
        return
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: a worker of the loader died",
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
    id="loop.worker_died",
    title="A worker process of the data loader died",
    phase="data",
    repair="Repair the sample that raises (run with num_workers=0 to see it), or enlarge shared memory.",
    mistaken_for={"data.index_out_of_range": "there the failing index is in the model"},
    intervention="num_workers=0",
    interventions=("no_workers",),
    next_measurement="exit code of the worker and the sample's index",
    weigh=weigh,
    source="pytorch/pytorch issues",
)
