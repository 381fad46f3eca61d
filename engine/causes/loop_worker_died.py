"""A loader worker ended.

Source: pytorch/pytorch issues.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

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
    yield from struck(case, failure, "a worker of the loader died")


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
