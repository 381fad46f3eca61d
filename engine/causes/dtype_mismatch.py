"""A tensor of the wrong type.

Source: Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = (
    "expected .*scalar type",
    "must have the same dtype",
    "should be the same",
    "expected .*dtype",
    "Found dtype",
    "not implemented for '(Long|Int|Bool|Half|Double|Float|Char|Byte)'",
    "Expected floating point type|expected m1 and m2 to have the same dtype|to have the same dtype|can only be (float|complex)|result type .* can't be cast|Expected tensor for argument .* scalar types|only Tensors of floating point|Input type .* and weight type .* should be the same|dtype .* is not supported|mat1 and mat2 must have the same dtype|Expected object of scalar type|Input dtype should be either floating point or complex",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(
        failure, _PATTERNS, ("RuntimeError", "TypeError", "NotImplementedError", "ValueError")
    ):
        return
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: types disagree",
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
    id="dtype.mismatch",
    title="Two tensors whose types must agree do not",
    phase="forward",
    repair="Cast at the source (labels .long() for cross_entropy, features .float()).",
    mistaken_for={"device.mismatch": "there types agree and devices do not"},
    intervention="none at run time",
    next_measurement="dtype of both operands",
    weigh=weigh,
    source="Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems",
)
