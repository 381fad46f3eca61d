"""The prompt is compiled on labelled cases, and written only if held-back cases get better answers."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from talk import GOOD, TRICK, stand_in

from aitia.agent.errors import ConfigurationError
from aitia.agent.optimize import LabelledCase, estimate, optimize, score, split
from aitia.agent.program import DIAGNOSE, Program, Verdict, family
from aitia.agent.prompt import BUDGET_TOKENS
from aitia.agent.replay_lm import FunctionEngine, with_engine

pytest.importorskip("dspy")


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
    assert report.rules == pytest.approx(0.55)  # the rules put H1 first: rank 2 of three faulty cases, one healthy
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
    cost = estimate(cases, 30)
    assert (cost.calls, cost.reflections, cost.output_tokens) == (38, 10, 48 * 2000)
    assert 38 * 500 < cost.input_tokens < 68 * BUDGET_TOKENS
    assert cost.cost(1.0, 2.0) == pytest.approx((cost.input_tokens + 2 * cost.output_tokens) / 1e6)
    with pytest.raises(ConfigurationError, match="too few"):
        split(cases[:3])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("ollama/qwen3:8b", "qwen3"),
        ("openai/gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("vllm/Qwen/Qwen3-8B", "qwen3-8b"),
    ],
)
def test_a_compiled_prompt_is_found_again_by_its_family(
    model: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named for the family, stands in the user's own folder, and is used before the package's."""
    monkeypatch.setenv("AITIA_PROMPTS", str(tmp_path))
    DIAGNOSE.save(DIAGNOSE.folders()[0] / f"{family(model)}.json", "Weigh.", [], {})

    assert family(model) == name
    assert DIAGNOSE.file(model) == tmp_path / "diagnose" / f"{name}.json"
    assert DIAGNOSE.file("openai/another").parent == DIAGNOSE.folder / "diagnose"
