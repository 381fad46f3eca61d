"""Tensors on different devices.

Source: Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

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
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: devices disagree",
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
