"""Repairs of ranks, modules, copies, samples and of how a run is steered: the whole text before and after."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import unusual
import wider
from programs import accuse, run_of
from wider import COUNTS, UNTIED

from aitia.agent.fix import patches_for

CASES = wider.CASES | unusual.CASES


@pytest.mark.parametrize("name", CASES)
def test_only_the_wrong_part_of_the_text_changes(tmp_path: Path, name: str) -> None:
    """One of the proposed changes is exactly this."""
    cause, source, old, new = CASES[name]
    run = run_of(tmp_path, source, facts=(COUNTS, UNTIED))
    assert source.count(old) == 1

    found = [p.files["train.py"] for p in patches_for(run, accuse(cause, *range(1, source.count("\n") + 1)))]

    assert source.replace(old, new) in found
    for text in found:
        ast.parse(text)


@pytest.mark.parametrize("cause", sorted({case[0] for case in CASES.values()}))
def test_a_program_without_the_pattern_is_left_alone(tmp_path: Path, cause: str) -> None:
    """Nothing fits, so nothing is proposed."""
    run = run_of(tmp_path, "import torch\nx = torch.ones(2)\nprint(x)\n", facts=(COUNTS, UNTIED))

    assert patches_for(run, accuse(cause, 2)) == []
