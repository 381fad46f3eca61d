"""A tensor of the wrong type.

Source: Humbatova et al., Taxonomy of Real Faults in Deep Learning Systems.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import Cause, Weight
from aitia.engine.causes.crash import same_failure, struck

_PATTERNS = (
    "expected .*scalar type",
    "must have the same dtype",
    "should be the same",
    "expected .*dtype",
    "Found dtype",
    "Input dtypes must be the same",
    "input dtype .* does not match weight dtype",
    "only bool and floating types of .* are supported",
    "not implemented for '(Long|Int|Bool|Half|Double|Float|Char|Byte)'",
    "Expected floating point type|expected m1 and m2 to have the same dtype|to have the same dtype|can only be (float|complex)|result type .* can't be cast|Expected tensor for argument .* scalar types|only Tensors of floating point|Input type .* and weight type .* should be the same|dtype .* is not supported|mat1 and mat2 must have the same dtype|Expected object of scalar type|Input dtype should be either floating point or complex",
)
"""Wording of torch's own errors."""


def weigh(case: Case) -> Iterator[Weight]:
    """Type and wording of the exception, and what was running."""
    failure = case.run.info.failure
    if failure is None or not same_failure(
        failure, _PATTERNS, ("RuntimeError", "TypeError", "NotImplementedError", "ValueError", "AssertionError")
    ):
        return
    yield from struck(case, failure, "types disagree")


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
