"""Repairs find a construct by what it does: the same fault in other words gets the same change."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from general import CASES
from programs import accuse, run_of

from aitia.agent.fix import patches_for


@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_repaired_however_it_is_written(tmp_path: Path, name: str) -> None:
    """One of the proposed changes is exactly this, and all of them are programs."""
    cause, source, parts = CASES[name]
    expected = source
    for old, new in parts:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)

    found = [
        p.files["train.py"]
        for p in patches_for(run_of(tmp_path, source), accuse(cause, *range(1, source.count("\n") + 1)))
    ]

    assert expected in found
    for text in found:
        ast.parse(text)
