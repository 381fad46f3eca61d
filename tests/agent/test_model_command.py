"""`aitia why` and `aitia fix` with a language model, as a person meets them in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gateway import URL, Gateway, completion, error
from runs import write_run

from aitia.agent import lm as factory
from aitia.cli import main

pytest.importorskip("dspy")
Command = Callable[..., tuple[int | str | None, str, str]]
GOOD = {
    "verdicts": [{"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}],
    "reply": "The head is never stepped [E1]: build the optimizer last.", "measurements_wanted": [],
}  # fmt: skip


@pytest.fixture
def aitia(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs one command on a run whose head is not trained; `openai/…` is the gateway, and impatient."""
    write_run(tmp_path, "stale_head")
    for variable in (*factory.KEYS.values(), factory.OWN_KEY):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(factory, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(factory, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args: str, here: bool = True) -> tuple[int | str | None, str, str]:
        base = ["--api-base", gateway.base_url] if here else []
        monkeypatch.setattr(sys, "argv", ["aitia", *args, "--runs", str(tmp_path), *base])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def serve(gateway: Gateway, *answers: httpx.Response) -> None:
    """What the model says, one after the other."""
    gateway.router.post(URL).mock(side_effect=answers)


def test_the_answer_names_who_gave_it(aitia: Command, gateway: Gateway) -> None:
    """The model's reply comes first, with the model's name at the end; a refusal in between is told."""
    bad = {**GOOD, "reply": "It is 77% broken [E1]."}
    serve(gateway, *(httpx.Response(200, json=completion(a)) for a in (bad, GOOD)))

    code, out, _ = aitia("why", "--model", "openai/test-model", "--words", "why does my head not learn?")

    assert code == 0
    assert "FAULTY  The head is never stepped [E1]: build the optimizer last." in out
    assert "answered by openai/test-model" in out
    assert "· refused: the reply the number 77% is not in the cited evidence" in out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_wrong_key_is_an_error(aitia: Command, gateway: Gateway, flags: tuple[str, ...]) -> None:
    """Not a silent answer of the rules: exit code 2 and one line, or JSON."""
    serve(gateway, error(401, "Incorrect API key provided"))

    code, out, err = aitia("why", "--model", "openai/test-model", *flags)

    assert code == 2
    assert "the language model refused" in out + err
    assert "FAULTY" not in out


def test_a_missing_key_is_named(aitia: Command, gateway: Gateway) -> None:
    """Which variable to set; nothing is sent anywhere."""
    code, _, err = aitia("why", "--model", "anthropic/claude-sonnet-4-5", here=False)

    assert code == 2
    assert "set ANTHROPIC_API_KEY" in err
    assert gateway.router.calls.call_count == 0


def test_a_server_that_is_down_ends_in_the_rules_answer(aitia: Command, gateway: Gateway) -> None:
    """Labelled as that, with the reason; with --require-llm it is an error."""
    serve(gateway, *[error(500, "down for maintenance")] * 6)

    code, out, _ = aitia("why", "--model", "openai/test-model")
    refused, _, err = aitia("why", "--model", "openai/test-model", "--require-llm")

    assert code == 0
    assert "answered by rules; openai/test-model was asked, but its answer was not used" in out
    assert "down for maintenance" in out
    assert refused == 2
    assert "was not used" in err


@pytest.mark.parametrize("command", ["why", "fix"])
def test_what_would_be_sent_is_shown_and_not_sent(aitia: Command, gateway: Gateway, command: str) -> None:
    """The whole prompt; no request, no file."""
    code, out, _ = aitia(command, "--model", "openai/test-model", "--show-prompt")

    assert code == 0
    assert "--- system ---" in out
    assert "[E1] gradient_debugger:" in out
    assert ("=== the change ===" in out) == (command == "fix")
    assert gateway.router.calls.call_count == 0


def test_the_notes_are_part_of_the_json(aitia: Command, gateway: Gateway) -> None:
    """For programs: mode, model, and what was refused."""
    serve(gateway, *[httpx.Response(200, json=completion("no idea"))] * 4)

    code, out, _ = aitia("why", "--model", "openai/test-model", "--json")

    told = json.loads(out)
    assert (code, told["mode"], told["model"]) == (0, "rules_fallback", "openai/test-model")
    assert told["notes"][-1].startswith("the language model's answer was not used")


def test_fix_hands_the_model_on_to_the_repair(
    aitia: Command, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model and address that explained are asked for the change."""
    from aitia.agent import incident
    from aitia.engine.records import Fix

    asked: dict[str, object] = {}

    def close(*_: object, **options: object) -> incident.Incident:
        asked.update(options)
        return incident.Incident(fix=Fix(summary="none"))

    monkeypatch.setattr(incident, "close", close)
    serve(gateway, httpx.Response(200, json=completion(GOOD)))

    code, _, err = aitia("fix", "--model", "openai/test-model", "--project", str(tmp_path))

    assert code == 0, err
    assert {k: asked[k] for k in ("model", "api_base")} == {"model": "openai/test-model", "api_base": gateway.base_url}
