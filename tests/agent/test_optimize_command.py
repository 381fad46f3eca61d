"""`aitia optimize` from end to end: a scripted model behind a real socket, a bad prompt, a better one written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gateway import URL, Gateway, completion
from talk import TRICK, stand_in

from aitia.agent.optimize import LabelledCase
from aitia.agent.program import DIAGNOSE
from aitia.cli import main
from aitia.evals import labelled as room

pytest.importorskip("dspy")
Command = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def command(
    gateway: Gateway, cases: list[LabelledCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:  # fmt: skip
    """Runs `aitia optimize` against the gateway, with the user's own bad prompt in place."""
    monkeypatch.setenv("AITIA_PROMPTS", str(tmp_path))
    monkeypatch.setattr(room, "labelled", lambda names, **_: cases)
    DIAGNOSE.save(DIAGNOSE.folders()[0] / "default.json", "Say something.", [], {})

    def run(idea: str, *args: str) -> tuple[int | str | None, str, str]:
        def serve(request: httpx.Request) -> httpx.Response:
            asked = json.loads(request.content)
            talk = [[m["role"], m["content"]] for m in asked["messages"]]
            text = stand_in(talk) if asked["model"] == "task" else json.dumps({"new_instruction": idea})
            return httpx.Response(200, json=completion(text))

        gateway.router.post(URL).mock(side_effect=serve)
        ends = ["--api-base", gateway.base_url, "--reflection-api-base", gateway.base_url]
        names = ["--model", "openai/task", "--reflection-model", "openai/reflect", "--budget", "30"]
        monkeypatch.setattr(sys, "argv", ["aitia", "optimize", *names, *ends, *args])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return run


def test_a_better_prompt_is_written_for_the_model(command: Command, tmp_path: Path) -> None:
    """The answer is JSON alone, the file belongs to the model's family and says what it improved."""
    code, out, _ = command(TRICK, "--yes", "--json")

    told = json.loads(out)
    assert code in (0, None)
    assert told["after"] > told["before"]
    written = tmp_path / "diagnose" / "task.json"
    assert Path(told["written"]) == written
    data = DIAGNOSE.load(written)
    assert data["instructions"] == [TRICK]
    assert data["provenance"]["model"] == "openai/task"
    assert "openai" not in json.dumps({k: v for k, v in data.items() if k != "provenance"})


def test_a_prompt_that_does_not_help_is_not_written(command: Command, tmp_path: Path) -> None:
    """The exit code says so, too; cost and scores are told first."""
    code, out, _ = command("Be nice.", "--yes", "--prices", "1,2")

    assert code == 1
    assert "12 cases, in 3 of them no hypothesis is right. At most 38 answers and 10 reflections" in " ".join(
        out.split()
    )
    assert "in the currency of --prices" in " ".join(out.split())
    assert "not better, so nothing was written" in out
    assert not (tmp_path / "diagnose" / "task.json").exists()


def test_nothing_is_spent_without_a_yes(command: Command, gateway: Gateway, tmp_path: Path) -> None:
    """Programs have to say --yes; no request is made."""
    code, out, _ = command(TRICK, "--json")

    assert code == 2
    assert "--yes" in out
    assert gateway.router.calls.call_count == 0


def test_a_drifted_prompt_file_is_refused(command: Command, gateway: Gateway, tmp_path: Path) -> None:
    """Instructions for other fields are no start; the message says what to do."""
    path = tmp_path / "diagnose" / "task.json"
    path.write_text(json.dumps({"format": 1, "fingerprint": "0", "instructions": ["x"], "demos": []}))

    code, _, err = command(TRICK, "--yes")

    assert code == 2
    assert "Delete it, and compile it again" in " ".join(err.split())
    assert gateway.router.calls.call_count == 0
