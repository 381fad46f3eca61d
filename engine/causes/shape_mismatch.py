"""Sizes that do not fit each other.

Source: SFData; Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports
from aitia.engine.causes.crash import failure_place, same_failure

_PATTERNS = (
    "shapes? cannot be multiplied",
    r"Expected hidden",
    "must match the size of tensor",
    "size mismatch",
    "expected .*channels",
    "Expected input batch_size",
    "shape '.*' is invalid for input of size",
    "Sizes of tensors must match",
    "Given groups=",
    "input\\.size\\(-1\\) must be equal to input_size",
    "normalized_shape",
    "running_mean should contain",
    "The size of tensor",
    "same number of dimensions|must have the same size|inconsistent tensor size|Expected target size|Expected \\d+D.*input|expected \\d+D.*input|Dimension out of range|stack expects each tensor to be equal size|Using a target size .* that is different|Target size .* must be the same as input size|mat1 and mat2|batch1|does not match the broadcast shape|doesn't match the broadcast shape|embed_dim|could not broadcast",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(
        failure, _PATTERNS, ("RuntimeError", "ValueError", "IndexError", "AssertionError")
    ):
        return
    inside = f" in {failure.module} ({failure.module_class})" if failure.module else ""
    yield supports(
        DECISIVE,
        f"the run ended in {failure.type}{inside}, {failure.phase or 'outside the step'}: sizes disagree",
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
    id="shape.mismatch",
    title="Two sizes that must agree do not",
    phase="forward",
    repair="Change the one dimension that disagrees (in_features, a missing flatten, a wrong axis).",
    mistaken_for={"dtype.mismatch": "there sizes agree and types do not"},
    intervention="none at run time",
    next_measurement="shapes at the last module entered",
    weigh=weigh,
    source="Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems",
)
