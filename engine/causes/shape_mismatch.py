"""Sizes that do not fit each other.

Source: SFData; Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

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
    r"same number of dimensions|must have the same size|inconsistent tensor size|Expected target size|Expected \d+D.*input|expected \d+D.*input|Dimension out of range|stack expects each tensor to be equal size|Using a target size .* that is different|Target size .* must be the same as input size|mat1 and mat2|^(?!.*dtype).*batch1|does not match the broadcast shape|doesn't match the broadcast shape|embed_dim|could not broadcast",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(
        failure, _PATTERNS, ("RuntimeError", "ValueError", "IndexError", "AssertionError")
    ):
        return
    yield from struck(case, failure, "sizes disagree")


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
