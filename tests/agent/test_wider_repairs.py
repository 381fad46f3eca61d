"""Repairs of ranks, modules, copies, samples and of how a run is steered: the whole text before and after."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import repeated
import spelled
import unusual
import wider
from programs import accuse, run_of
from wider import COUNTS, UNTIED

from aitia.agent.fix import patches_for

CASES = wider.CASES | unusual.CASES | spelled.CASES | repeated.CASES


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


def test_dropout_that_is_sampled_on_purpose_stays(tmp_path: Path) -> None:
    """The same input ten times in training mode: evaluation mode would take the spread away."""
    source = "def sample(model, x):\n    with torch.no_grad():\n        return [model(x) for _ in range(10)]\n"
    run = run_of(tmp_path, source)
    rows = {"grad": np.zeros(20), "training": np.ones(20), "in_hash": np.repeat([3, 4], 10)}

    assert patches_for(run, accuse("eval.mode_not_eval", 3))
    run.table = {"batch": rows}.__getitem__  # type: ignore[method-assign, assignment]  # as the recorder would fill it
    assert patches_for(run, accuse("eval.mode_not_eval", 3)) == []


def test_probabilities_of_rare_events_are_left_alone(tmp_path: Path) -> None:
    """A program that never decides is after probabilities, which weights would spoil."""
    source = "import torch\nloss = F.binary_cross_entropy_with_logits(out, y)\nprint(out.sigmoid().mean())\n"

    assert patches_for(run_of(tmp_path, source, facts=(COUNTS,)), accuse("data.class_imbalance", 2)) == []


def test_the_minus_before_a_likelihood_stays(tmp_path: Path) -> None:
    """What is to be maximized is minimized with a minus: it is no flipped sign, whoever accuses it."""
    source = "import torch\nloss = -model.log_prob(x, y).mean()\nloss.backward()\n"

    assert patches_for(run_of(tmp_path, source), accuse("loss.sign_flipped", 2)) == []
