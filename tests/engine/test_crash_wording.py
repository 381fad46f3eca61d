"""Torch's own words for types that disagree are not taken for sizes."""

from __future__ import annotations

import pytest

from aitia.engine.causes import dtype_mismatch, shape_mismatch
from aitia.engine.causes.crash import same_failure
from aitia.engine.records import Failure

TYPES, SIZES = dtype_mismatch._PATTERNS, shape_mismatch._PATTERNS


@pytest.mark.parametrize(
    ("message", "types"),
    [
        ("Input dtypes must be the same, got: input double, batch1: float, batch2: float", True),
        ("only bool and floating types of src_key_padding_mask are supported", True),
        ("RNN input dtype (torch.float64) does not match weight dtype (torch.float32).", True),
        ("batch1 must be a 3D tensor", False),
        ("Expected size for first two dimensions of batch2 tensor to be: [3, 4] but got batch1: [3, 5].", False),
    ],
)
def test_types_are_told_from_sizes(message: str, types: bool) -> None:
    """Attention and recurrent layers have their own wording for both."""
    failure = Failure(type="RuntimeError", message=message, traceback="")

    assert same_failure(failure, TYPES) is types
    assert same_failure(failure, SIZES) is not types
