"""Every mini program is convicted of its own fault, and acquitted once that is repaired."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from registry import LOOKALIKES, MINIS, Lookalike, Mini

from aitia.engine.capture.watch import watch
from aitia.engine.reason import diagnose
from aitia.engine.records import Diagnosis

for module in sorted(Path(__file__).parent.glob("mini_*.py")):
    import_module(module.stem)

pytestmark = pytest.mark.filterwarnings("ignore")  # the programs are faulty, and torch says so


def answer(program: Callable[[], None], runs: Path) -> Diagnosis:
    """Record the program to its end, whatever that is, and ask why it failed."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    with contextlib.suppress(Exception), watch(runs=runs, name="mini") as watched:
        program()
    recording = watched.run()
    faults = [f.data for f in recording.facts("recorder") if "failed" in str(f.data.get("what"))]
    assert not faults, faults
    return diagnose(recording)


@pytest.mark.parametrize("mini", MINIS, ids=lambda m: m.name)
def test_a_broken_program_is_convicted_of_its_own_fault(mini: Mini, tmp_path: Path) -> None:
    """The first hypothesis is the cause."""
    found = answer(lambda: mini.program(True), tmp_path)

    assert found.verdict == "faulty", found.summary
    assert found.hypotheses[0].cause in {mini.cause, *mini.also}


@pytest.mark.parametrize("mini", MINIS, ids=lambda m: m.name)
def test_the_repaired_program_is_acquitted(mini: Mini, tmp_path: Path) -> None:
    """With the one fault repaired nothing is accused."""
    found = answer(lambda: mini.program(False), tmp_path)

    assert found.verdict != "faulty", found.summary


@pytest.mark.parametrize("twin", LOOKALIKES, ids=lambda t: t.name)
def test_a_healthy_twin_is_acquitted(twin: Lookalike, tmp_path: Path) -> None:
    """A program that only looks like one with the fault is not accused."""
    found = answer(twin.program, tmp_path)

    assert found.verdict != "faulty", found.summary
