"""The prompt is compiled on labelled cases, and written only if held-back cases get better answers."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from talk import EVIDENCE, GOOD, HYPOTHESES

from aitia.agent.errors import ConfigurationError
from aitia.agent.optimize import LabelledCase, estimate, optimize, score, split
from aitia.agent.program import DIAGNOSE, Program, Verdict
from aitia.agent.replay_lm import FunctionEngine, with_engine
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

pytest.importorskip("dspy")
TRICK = "Put H2 first."
"""What the stand-in model needs to be told to be right."""


@pytest.fixture
def cases(run: Run, diagnosis: Diagnosis) -> list[LabelledCase]:
    """Nine cases whose truth is the second hypothesis, three healthy ones."""
    quiet = diagnosis.model_copy(update={"hypotheses": (), "verdict": "healthy", "evidence": EVIDENCE})
    faulty = [LabelledCase(f"f{n}", run, diagnosis, frozenset({HYPOTHESES[1].cause})) for n in range(9)]
    return [*faulty, *(LabelledCase(f"h{n}", run, quiet, frozenset()) for n in range(3))]


def stand_in(request: list[list[str]]) -> str:
    """A model that is right once it is told how."""
    verdicts = GOOD["verdicts"] if "H1" in request[-1][1].partition("training_script")[0] else []
    ordered = verdicts[::-1] if TRICK in request[0][1] else verdicts
    return json.dumps({**GOOD, "verdicts": ordered})


def program_in(folder: Path) -> Program:
    """The program with a deliberately bad prompt."""
    made = replace(DIAGNOSE, folder=folder)
    made.save(made.file(), "Say something.", [], {})
    return made


def test_a_bad_prompt_is_improved_on_held_back_cases(
    cases: list[LabelledCase], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The better instructions are written with their provenance, and load."""
    caplog.set_level(logging.ERROR)
    program, out = program_in(tmp_path), tmp_path / "diagnose" / "mine.json"
    lm = with_engine(FunctionEngine(stand_in), "toy/task")
    reflection = with_engine(FunctionEngine(lambda _: json.dumps({"new_instruction": TRICK})), "toy/reflection")

    report = optimize(cases, lm, reflection, out, budget=30, program=program)

    assert report.after > report.before
    assert (report.written, report.instructions) == (out, TRICK)
    data = program.load(out)
    assert data["instructions"] == [TRICK]
    assert data["provenance"]["heldout"] == {"before": report.before, "after": report.after, "n": 4}


def test_what_is_not_better_is_not_written(
    cases: list[LabelledCase], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A useless suggestion leaves everything as it was."""
    caplog.set_level(logging.ERROR)
    program, out = program_in(tmp_path), tmp_path / "diagnose" / "mine.json"
    lm = with_engine(FunctionEngine(stand_in), "toy/task")
    reflection = with_engine(FunctionEngine(lambda _: json.dumps({"new_instruction": "Be nice."})), "toy/reflection")

    report = optimize(cases, lm, reflection, out, budget=12, program=program)

    assert report.written is None
    assert not out.exists()


def test_a_drifted_prompt_is_refused(cases: list[LabelledCase], tmp_path: Path) -> None:
    """Optimizing on top of instructions for other fields would start from nonsense."""
    program = program_in(tmp_path)
    drifted = replace(program, inputs={**program.inputs, "mood": (str, "how the user feels")})
    lm = with_engine(FunctionEngine(stand_in), "toy/task")

    with pytest.raises(ConfigurationError, match="made for other fields"):
        optimize(cases, lm, lm, tmp_path / "x.json", budget=10, program=drifted)


def test_the_score_rewards_the_right_cause_and_grounded_words(cases: list[LabelledCase]) -> None:
    """Right and grounded is 1; right but made up is less; silence on a healthy run is right."""
    verdicts = [Verdict.model_validate(v) for v in GOOD["verdicts"]]
    healthy = next(c for c in cases if not c.right)

    assert score(cases[0], verdicts[::-1], GOOD["reply"]) == (1.0, "Right and grounded.")
    assert score(cases[0], verdicts, GOOD["reply"])[0] == pytest.approx(0.4)
    assert "the true cause is optimizer.lr_too_high" in score(cases[0], verdicts, GOOD["reply"])[1]
    assert score(cases[0], verdicts[::-1], "77% [E1]")[0] == pytest.approx(0.7)
    assert score(healthy, [], GOOD["reply"])[0] == 1.0
    assert score(healthy, verdicts, GOOD["reply"])[0] < 0.5


def test_the_split_is_stable_and_the_cost_is_known_before(cases: list[LabelledCase]) -> None:
    """Every part has a healthy case; too few cases are refused."""
    train, validation, held = split(cases)

    assert [len(p) for p in (train, validation, held)] == [4, 4, 4]
    assert all(any(not c.right for c in part) for part in (train, validation, held))
    assert [c.name for c in split(cases[::-1])[0]] == [c.name for c in train]
    assert estimate(cases, 30).calls == 38
    with pytest.raises(ConfigurationError, match="too few"):
        split(cases[:3])
