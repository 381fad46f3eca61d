"""Tensors on different devices.

Source: Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

_PATTERNS = (
    "same device",
    "Expected all tensors to be on",
    "is on cpu, but expected",
    "Input type \\(torch\\.cuda.*weight type \\(torch\\.(Float|Half)",
    "expected device",
    "on device meta|meta tensor|Tensor on device .* is not on the expected device|is not on the expected device|devices? .* but expected|found at least two devices",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(failure, _PATTERNS, ("RuntimeError", "NotImplementedError", "ValueError")):
        return
    yield from struck(case, failure, "devices disagree")


CAUSE = Cause(
    id="device.mismatch",
    title="Tensors that meet in one operation live on different devices",
    phase="forward",
    repair="Create tensors with device=x.device, and keep constants of a module as buffers (register_buffer).",
    mistaken_for={"dtype.mismatch": "there devices agree"},
    intervention="none at run time",
    next_measurement="device of each operand",
    weigh=weigh,
    source="Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems",
)
