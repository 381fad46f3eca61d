"""The language model may order and explain; what it makes up is caught, sent back once, then dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx
from gateway import error
from talk import GOOD, altered, sent

from aitia.agent.errors import LanguageModelError
from aitia.agent.judge import MAX_MOVE, consult
from aitia.agent.replay_lm import scripted
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

pytest.importorskip("dspy")
Answers = Callable[..., respx.Route]


def test_a_grounded_answer_is_used(run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers) -> None:
    """Order and words are the model's; the confidence stays the engine's but for a little."""
    route = answers(GOOD)

    done = consult(run, diagnosis, lm)

    found = done.diagnosis
    assert (found.mode, found.model, done.calls, done.tokens) == ("llm", "openai/test-model", 1, 12)
    assert found.summary == GOOD["reply"]
    assert [h.cause for h in found.hypotheses] == ["loop.missing_zero_grad", "optimizer.lr_too_high"]
    assert found.hypotheses[0].explanation == GOOD["verdicts"][0]["explanation"]
    moved = [abs(a.confidence - b.confidence) for a, b in zip(found.hypotheses, diagnosis.hypotheses, strict=True)]
    assert max(moved) <= MAX_MOVE + 1e-9
    assert route.calls[0].request.headers["authorization"] == "Bearer sk-for-this-server-only"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (altered(evidence_ids=["E9"]), "H1 cites E9, which no tool measured"),
        (altered(explanation="It reached 9.9e12 [E2]."), "H1 the number 9.9e12 is not in the cited evidence"),
        (altered(explanation="It grew 240-fold [E2]."), "H1 the number 240 is not in the cited evidence"),
        (altered(explanation="12 % per step [E2].", evidence_ids=["E2"]), "H1 the number 12 % is not in the cited"),
        (altered(hypothesis_id="H7"), "H7 is no hypothesis of the list (H1, H2)"),
        (altered(1, hypothesis_id="H1"), "H1 appears twice"),
        (altered(evidence_ids=[], explanation="Surely."), "H1 cites no evidence"),
        (altered(explanation="It is loop.eval_mode_left_on [E1]."), "names the cause loop.eval_mode_left_on"),
        (altered(explanation="See `lr=0.3` [E1]."), "H1 the number 0.3 is not in the cited evidence"),
        (altered(explanation="fc9.weight is dead [E1]."), "H1 names fc9.weight, which is no part of this model"),
        (altered(explanation="Line 99 is wrong [E1]."), "H1 the number 99 is not in the cited evidence"),
        (
            {**GOOD, "reply": "See https://evil.example/x [E1]."},
            "the reply contains the address https://evil.example/x, which is not in the evidence",
        ),
        ({**GOOD, "reply": ""}, "the reply is empty"),
        ({**GOOD, "reply": "I am 95% sure [E1]."}, "the reply the number 95% is not in the cited evidence"),
    ],
)
def test_what_is_made_up_is_sent_back_in_these_words(
    run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers, answer: dict[str, Any], words: str
) -> None:
    """The second request carries the violation; the corrected answer is used."""
    route = answers(answer, GOOD)

    done = consult(run, diagnosis, lm)

    assert words in sent(route, 1).replace("\\n", " ")
    assert words not in sent(route, 0)
    assert (done.diagnosis.mode, done.calls) == ("llm", 2)
    assert any(words in note for note in done.notes)


def test_an_answer_that_cannot_be_read_is_asked_for_again(
    run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers
) -> None:
    """Small models forget the form once; told so, they may keep it."""
    route = answers("The rate is too high.", GOOD)

    done = consult(run, diagnosis, lm)

    assert "your answer could not be read: write one JSON object" in sent(route, 1)
    assert (done.diagnosis.mode, done.calls) == ("llm", 2)


def test_the_better_of_two_answers_is_kept(run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers) -> None:
    """A second answer that is worse than the first does not replace what was grounded in it."""
    first = {**GOOD, "reply": "I am 95% sure [E1]."}
    answers(first, {**first, "verdicts": [altered(evidence_ids=["E9"])["verdicts"][0]]})

    found = consult(run, diagnosis, lm).diagnosis

    assert (found.mode, found.summary) == ("llm", diagnosis.summary)
    assert found.hypotheses[0].explanation == GOOD["verdicts"][0]["explanation"]


def test_what_stays_made_up_is_dropped(run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers) -> None:
    """The verdict that is twice ungrounded keeps the rules' explanation, the other one the model's."""
    bad = altered(1, explanation="77% of the units are dead [E3].")
    answers(bad, bad)

    found = consult(run, diagnosis, lm).diagnosis

    assert found.mode == "llm"
    words = {h.id: h.explanation for h in found.hypotheses}
    assert words == {"H1": GOOD["verdicts"][0]["explanation"], "H2": "Steps overshoot."}


def test_twice_all_made_up_falls_back_to_the_rules(run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers) -> None:
    """The rules' answer is given, labelled, with the reason."""
    bad = {**GOOD, "verdicts": [altered(evidence_ids=["E9"])["verdicts"][0]]}
    answers(bad, bad)

    found = consult(run, diagnosis, lm).diagnosis

    assert (found.mode, found.model) == ("rules_fallback", "openai/test-model")
    assert found.hypotheses == diagnosis.hypotheses
    assert found.summary == diagnosis.summary
    assert "refused: H1 cites E9, which no tool measured" in found.notes
    assert found.notes[-1] == "the language model's answer was not used: it failed the checks twice"


@pytest.mark.parametrize(
    ("response", "calls"),
    [
        (error(500, "broken"), 3),
        (error(429, "slow down"), 3),
        (httpx.Response(429, json={"error": {"message": "slow"}}, headers={"retry-after": "3600"}), 3),
        (httpx.ReadTimeout("silence"), 3),
        (httpx.ConnectError("hang up"), 3),
        (httpx.Response(200, text="<html>a proxy's page</html>"), 1),
        (httpx.Response(200, json={"id": "c", "object": "chat.completion", "model": "m", "choices": []}), 2),
        ("I think the learning rate is too high.", 2),
        ('{"verdicts": [{"hypothesis_id": "H1"', 2),
        ("", 2),
    ],
    ids=["500", "429", "retry-after an hour", "timeout", "hang-up", "html", "no choices", "prose", "cut", "empty"],
)
def test_a_model_that_fails_is_no_error(
    run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers, response: Any, calls: int
) -> None:
    """The rules answer, labelled as such, after a bounded number of calls."""
    route = answers(*[response] * 3)

    done = consult(run, diagnosis, lm)

    assert done.diagnosis.mode == "rules_fallback"
    assert done.diagnosis.hypotheses == diagnosis.hypotheses
    assert route.call_count == calls
    assert done.diagnosis.summary == diagnosis.summary
    assert done.diagnosis.notes[-1].startswith("the language model's answer was not used: ")


@pytest.mark.parametrize(
    "response",
    [
        error(401, "bad key"),
        error(429, "quota", code="insufficient_quota"),
        error(404, "no such model", code="model_not_found"),
    ],
    ids=["401", "quota", "404"],
)
def test_a_model_that_refuses_is_an_error(
    run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers, response: httpx.Response
) -> None:
    """A wrong key, no credit and a wrong name are the user's to mend: one line, no silent fallback."""
    answers(response)

    with pytest.raises(LanguageModelError, match="the language model refused"):
        consult(run, diagnosis, lm)


def test_a_transient_error_is_tried_again(run: Run, diagnosis: Diagnosis, lm: Any, answers: Answers) -> None:
    """One 500 does not cost the answer."""
    answers(error(500, "hiccup"), GOOD)

    assert consult(run, diagnosis, lm).diagnosis.mode == "llm"


def test_a_weak_cause_is_not_lifted_by_opinion(run: Run, diagnosis: Diagnosis) -> None:
    """Below the floor the model may put a cause first, but its confidence does not rise."""
    weak = diagnosis.hypotheses[1].model_copy(update={"confidence": 0.05})
    base = diagnosis.model_copy(update={"hypotheses": (diagnosis.hypotheses[0], weak)})
    answer = {**GOOD, "verdicts": GOOD["verdicts"][::-1]}

    found = consult(run, base, scripted(answer)).diagnosis

    assert {h.id: h.confidence for h in found.hypotheses} == {"H1": 0.57, "H2": 0.05}


def test_agreeing_with_the_only_hypothesis_moves_nothing(run: Run, diagnosis: Diagnosis) -> None:
    """There was nothing to choose from; doubting it still moves it down."""
    base = diagnosis.model_copy(update={"hypotheses": diagnosis.hypotheses[:1]})
    agree = {**GOOD, "verdicts": GOOD["verdicts"][:1]}

    assert consult(run, base, scripted(agree)).diagnosis.hypotheses[0].confidence == 0.62
    assert consult(run, base, scripted({**agree, "verdicts": []})).diagnosis.hypotheses[0].confidence == 0.57


def test_close_hypotheses_may_change_places(run: Run, diagnosis: Diagnosis) -> None:
    """Two causes that the engine holds equally likely are ordered by the model."""
    answer = {**GOOD, "verdicts": GOOD["verdicts"][::-1]}

    found = consult(run, diagnosis, scripted(answer)).diagnosis

    assert [h.id for h in found.hypotheses] == ["H2", "H1"]


def test_deep_mode_takes_measurements_of_the_closed_list_only(run: Run, diagnosis: Diagnosis) -> None:
    """What is on the list is measured once and added to the ledger; anything else is ignored."""
    ask = {"verdicts": [], "reply": "", "measurements_wanted": ["gradients", "rm -rf /", "gradients"]}
    lm = scripted(ask, GOOD)

    done = consult(run, diagnosis, lm, deep=True)

    assert done.measured == ["gradients"]
    assert done.diagnosis.mode == "llm"
    assert {e.tool for e in done.diagnosis.evidence if e.id.startswith("E2") and len(e.id) > 2} == {"gradient_debugger"}
    assert "E200" in lm.engine.requests[1][-1][1]


def test_a_model_that_never_has_enough_is_stopped(run: Run, diagnosis: Diagnosis) -> None:
    """Two rounds of measurements, four of them in all, four calls; then what it said is judged."""
    first = {**GOOD, "measurements_wanted": ["gradients", "layers", "memory"]}
    second = {**GOOD, "measurements_wanted": ["performance", "errors"]}
    lm = scripted(first, second, {**GOOD, "measurements_wanted": ["errors"]})

    done = consult(run, diagnosis, lm, deep=True)

    assert done.measured == ["gradients", "layers", "memory", "performance"]
    assert (done.calls, done.diagnosis.mode) == (3, "llm")
    offered = [text.partition("measurements_offered")[2] for _, text in (r[-1] for r in lm.engine.requests)]
    assert [("memory: " in t, "errors: " in t) for t in offered] == [(True, True), (False, True), (False, False)]


def test_without_deep_nothing_more_is_measured(run: Run, diagnosis: Diagnosis) -> None:
    """Measurements are offered in deep mode only."""
    done = consult(run, diagnosis, scripted({**GOOD, "measurements_wanted": ["gradients"]}))

    assert (done.measured, done.calls) == ([], 1)


def test_where_nothing_is_accused_nothing_is_asked(run: Run, diagnosis: Diagnosis) -> None:
    """A healthy run costs no call; with words of the user's the model may answer, but not overrule."""
    healthy = diagnosis.model_copy(update={"verdict": "healthy", "hypotheses": (), "summary": "Nothing is wrong."})
    reply = {"verdicts": [], "reply": "It is 12 % per step [E3].", "measurements_wanted": []}

    quiet = consult(run, healthy, scripted())
    asked = consult(run, healthy, scripted(reply), words="how large are my steps?")

    expected = healthy.model_copy(update={"notes": ("there is nothing to weigh, so the model was not asked",)})
    assert (quiet.diagnosis, quiet.calls) == (expected, 0)
    assert asked.diagnosis.summary == "Nothing is wrong. It is 12 % per step [E3]."
    assert asked.diagnosis.verdict == "healthy"


def test_secrets_do_not_leave_the_machine(run: Run, diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the user's words or in the environment is taken out of the prompt."""
    monkeypatch.setenv("MY_SERVICE_TOKEN", "tok-1234567890abcdef")
    lm = scripted(GOOD)

    consult(run, diagnosis, lm, words="my key is sk-abcdefghijklmnop1234 and tok-1234567890abcdef, why?")

    text = json.dumps(lm.engine.requests)
    assert "sk-abcdef" not in text
    assert "tok-1234567890abcdef" not in text
    assert "[redacted]" in text
