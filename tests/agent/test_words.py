"""The user's own words decide what is examined, and the answer addresses them, with and without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import write_run

from aitia.agent.diagnosis import answer
from aitia.agent.focus import focus, subject
from aitia.agent.judge import consult
from aitia.agent.replay_lm import scripted
from aitia.agent.suspicion import PHRASES, addressed, suspected
from aitia.engine.causes import CAUSES
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

PHRASINGS = {
    "why does each epoch take so long?": ("performance", "E300"),
    "it is not converging at all": ("gradients", "E200"),
    "my RAM usage grows until it is killed": ("memory", "E400"),
}


@pytest.mark.parametrize("words", PHRASINGS)
def test_three_phrasings_three_measurements(run: Run, words: str) -> None:
    """Only what was asked for is measured and told beside the cause, which stays the same."""
    name, cited = PHRASINGS[words]
    plain, asked = answer(run), answer(run, words=words)

    others = {e for n, e in PHRASINGS.values() if n != name}
    assert f"On {name}: " in asked.summary
    assert asked.summary.startswith(plain.summary)
    assert cited in {e.id for e in asked.evidence}
    assert not others & {e.id for e in asked.evidence}
    assert [h.cause for h in asked.hypotheses] == [h.cause for h in plain.hypotheses]
    assert not {e.id for e in plain.evidence} & {"E200", "E300", "E400"}


@pytest.mark.parametrize("words", PHRASINGS)
def test_a_model_gets_the_question_with_what_was_measured_for_it(run: Run, words: str) -> None:
    """It may cite that measurement, and its reply is the answer to the question."""
    pytest.importorskip("dspy")
    from aitia.agent.diagnosis import by_rules

    name, cited = PHRASINGS[words]
    reply = f"As to {name}, see what was measured [{cited}]."
    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}
    answer_to_it = {"verdicts": [verdict], "reply": reply, "measurements_wanted": []}
    lm = scripted(answer_to_it)

    found = consult(run, by_rules(run, words), lm, words=words).diagnosis

    assert (found.mode, found.summary) == ("llm", reply)
    assert words in lm.engine.requests[0][-1][1]
    assert f"[{cited}] " in lm.engine.requests[0][-1][1]
    unasked = consult(run, by_rules(run), scripted(answer_to_it, answer_to_it)).diagnosis
    assert f"refused: the reply cites {cited}, which no tool measured" in unasked.notes


def test_a_layer_that_is_named_is_looked_at(run: Run) -> None:
    """Gradients of that layer alone; a name that does not exist narrows nothing."""
    asked = answer(run, words="why is fc2 not learning?")

    assert subject(run, "why is fc2 not learning?") == "fc2"
    assert subject(run, "is fc9 dead, and fc1, and fc2?") is None
    assert "On gradients of fc2: 2 of 2 parameters" in asked.summary
    assert "On gradients: " in answer(run, words="why is fc9 not learning?").summary


def test_a_suspicion_is_answered(run: Run, diagnosis: Diagnosis) -> None:
    """Found, possible, a symptom of something else, or not accused."""
    stale = answer(run)

    assert addressed(diagnosis, "did I forget zero_grad?") == [
        "You suspect loop.missing_zero_grad: that is the first cause found (62% sure)."
    ]
    assert addressed(diagnosis, "is the learning rate too high?") == [
        "You suspect optimizer.lr_too_high: that is possible, but comes after the first (58% sure)."
    ]
    assert "a symptom here and not the cause" in addressed(stale, "is my lr too small?")[0]
    assert addressed(stale, "do I overfit?") == ["You suspect eval.overfit: the measurements do not accuse it."]
    assert "You suspect eval.overfit" in answer(run, words="do I overfit?").summary
    assert addressed(stale, "what is wrong?") == []


def test_every_phrase_means_a_cause_that_exists() -> None:
    """An id of the catalogue is understood, too."""
    assert [cause for _, cause in PHRASES if cause not in CAUSES] == []
    assert suspected("is it loss.sign_flipped?") == ("loss.sign_flipped",)


def test_words_that_ask_for_nothing_add_nothing(run: Run) -> None:
    """A greeting is no question."""
    assert focus("hello there") == ()
    assert answer(run, words="hello there") == answer(run)


def test_the_command_takes_the_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`aitia why --words` in a terminal."""
    from aitia.cli import main

    write_run(tmp_path, "leak")
    monkeypatch.setattr("sys.argv", ["aitia", "why", "--words", "memory grows", "--runs", str(tmp_path), "--json"])
    with pytest.raises(SystemExit):
        main()
    told: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert "On memory: Host memory grows" in told["summary"]
