"""Models of three characters on every synthetic run: who repeats what was measured is heard, who makes up is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import write_run

from aitia.agent.diagnosis import by_rules
from aitia.agent.judge import MAX_MOVE, consult
from aitia.agent.replay_lm import FunctionEngine, Request, with_engine

pytest.importorskip("dspy")
ACCUSED = ("stale_head", "crash", "saturated", "leak", "nan")
"""Stories with at least one hypothesis."""


def shown(talk: Request) -> tuple[dict[str, str], list[list[str]]]:
    """Evidence by id, and the hypotheses with the ids that speak for them, as they stand in a prompt."""
    text = talk[-1][1]
    evidence = dict(re.findall(r"^\[(E\d+)\] \w+: (.*)$", text, re.MULTILINE))
    hypotheses = re.findall(r"^(H\d+) \S+.*? for=(\S+) against=", text, re.MULTILINE)
    return evidence, [[h, *(i for i in ids.split(",") if i in evidence)] for h, ids in hypotheses]


def parrot(talk: Request) -> str:
    """Repeats the statements with their ids, in the engine's order."""
    evidence, hypotheses = shown(talk)
    verdicts = [
        {"hypothesis_id": h, "evidence_ids": ids, "explanation": " ".join(f"{evidence[i]} [{i}]." for i in ids)}
        for h, *ids in hypotheses
    ]
    reply = verdicts[0]["explanation"] if verdicts else "Nothing."
    return json.dumps({"verdicts": verdicts, "reply": reply, "measurements_wanted": []})


def contrarian(talk: Request) -> str:
    """The same words in the opposite order."""
    said = json.loads(parrot(talk))
    return json.dumps({**said, "verdicts": said["verdicts"][::-1]})


def liar(talk: Request) -> str:
    """Numbers nobody measured, a hypothesis nobody has, and great certainty."""
    _, hypotheses = shown(talk)
    verdicts = [{"hypothesis_id": h, "evidence_ids": ["E1"], "explanation": "It grew 123.4-fold [E1]."}
                for h, *_ in hypotheses]  # fmt: skip
    verdicts.append({"hypothesis_id": "H9", "evidence_ids": ["E1"], "explanation": "It is made up [E1]."})
    return json.dumps({"verdicts": verdicts, "reply": "I am 97.3% sure [E1].", "measurements_wanted": []})


def asked(folder: Path, story: Any, character: Callable[[Request], str]) -> tuple[Any, Any]:
    """The rules' answer, and what a model of that character makes of it."""
    run = write_run(folder, story)
    rules = by_rules(run)
    assert rules.hypotheses
    return rules, consult(run, rules, with_engine(FunctionEngine(character), "toy/model"))


@pytest.mark.parametrize("story", ACCUSED)
def test_who_repeats_what_was_measured_is_heard(tmp_path: Path, story: str) -> None:
    """No true sentence is refused, whatever the run."""
    rules, done = asked(tmp_path, story, parrot)

    assert (done.diagnosis.mode, done.notes, done.calls) == ("llm", [], 1)
    assert [h.cause for h in done.diagnosis.hypotheses] == [h.cause for h in rules.hypotheses]


@pytest.mark.parametrize("story", ACCUSED)
def test_who_makes_up_changes_nothing(tmp_path: Path, story: str) -> None:
    """After two refused answers the rules' answer stands, word for word."""
    rules, done = asked(tmp_path, story, liar)

    assert (done.diagnosis.mode, done.calls) == ("rules_fallback", 2)
    assert (done.diagnosis.hypotheses, done.diagnosis.summary) == (rules.hypotheses, rules.summary)


@pytest.mark.parametrize("story", ACCUSED)
def test_who_contradicts_moves_little(tmp_path: Path, story: str) -> None:
    """Nothing is added to the list, the verdict stays, and no confidence moves by more than the margin."""
    rules, done = asked(tmp_path, story, contrarian)

    before = {h.cause: h.confidence for h in rules.hypotheses}
    after = {h.cause: h.confidence for h in done.diagnosis.hypotheses}
    assert after.keys() == before.keys()
    assert done.diagnosis.verdict == rules.verdict
    assert max(abs(after[c] - before[c]) for c in before) <= MAX_MOVE + 1e-9
