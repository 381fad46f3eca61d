"""A language model is scored on the same recordings as the rules; its answers are kept, since they cost money."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import write_run

from aitia.engine.reason import diagnose
from aitia.engine.store.reader import Run
from aitia.evals.opinions import Panel, told
from aitia.evals.recordings import Recording
from aitia.evals.score import Case, reply_of
from aitia.evals.zoo import Truth

pytest.importorskip("dspy")
STALE = "optimizer.stale_param_reference"


def talk(path: Path, *answers: dict[str, object]) -> str:
    """The name of a model that gives these answers."""
    path.write_text("".join(json.dumps({"response": json.dumps(a)}) + "\n" for a in answers), encoding="utf-8")
    return f"replay/{path}"


def test_a_model_is_asked_once_and_scored_beside_the_rules(tmp_path: Path) -> None:
    """The row, what was refused and the cost; a second evaluation asks nothing."""
    folder = tmp_path / "faulty-0"
    run = write_run(folder / "runs", "stale_head")
    recording = Recording(folder, "k", 0, 1.0, run.path.name)
    rules = diagnose(Run(run.path))
    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}
    good: dict[str, object] = {"verdicts": [verdict], "reply": "Build it last [E1].", "measurements_wanted": []}
    model = talk(tmp_path / "talk.jsonl", {**good, "reply": "It is 77% broken [E1]."}, good)

    panel = Panel(model, None, "with a model")
    reply = panel.ask(recording, rules, "engine")
    again = Panel(model, None, "with a model")
    kept = again.ask(recording, rules, "engine")

    outcome = {"pattern": r"(\d)", "faulty": "> 0", "repaired": "< 1"}
    truth = Truth.model_validate(
        {"cause": STALE, "phase": "setup", "summary": "x", "sources": ["x"], "outcome": outcome}
    )
    case = Case("p", "faulty", 0, truth, (), {"aitia": reply_of(rules), "with a model": reply})
    assert reply.ranked[0] == {STALE}
    assert kept == reply
    assert again.lm.engine.requests == []
    expected = {"model": model, "asked": 1, "used": 1, "fell_back": 0, "refused": 1, "righted": 0, "spoiled": 0,
                "calls": 2, "tokens": 0}  # fmt: skip
    assert panel.summary([case], "aitia") == again.summary([case], "aitia") == expected
    assert "asked about 1 recordings, used for 1" in "\n".join(told(expected))
    assert told(None) == []
