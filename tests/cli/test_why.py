"""`aitia why` answers about every run that can be read, in words and in JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from runs import STORIES

from aitia.cli import main
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import list_runs, open_run

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "aitia" / "diagnosis.schema.json"


def why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """What `aitia why` prints; it must succeed."""
    monkeypatch.setattr(sys, "argv", ["aitia", "why", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert stop.value.code in (None, 0), err
    return out


def test_the_published_schema_is_the_models() -> None:
    """A change to the answer's shape has to be made in the published file, too."""
    expected = Diagnosis.model_json_schema(by_alias=True, mode="serialization")

    assert json.loads(SCHEMA.read_text("utf-8")) == expected


@pytest.mark.parametrize("story", STORIES)
def test_every_answer_fits_the_published_schema(
    story: str, synthetic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for runs that crashed, were killed, or hold hostile strings."""
    out = why(monkeypatch, capsys, story, "--json", "--runs", str(synthetic))
    answer: dict[str, Any] = json.loads(out)

    jsonschema.validate(answer, json.loads(SCHEMA.read_text("utf-8")))
    assert answer["run"].endswith(story)


@pytest.mark.parametrize("story", STORIES)
def test_what_is_printed_holds_verdict_and_cause_and_no_escape_codes(
    story: str, synthetic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layer names, messages and logs of a run cannot move the cursor or colour the screen."""
    answer = json.loads(why(monkeypatch, capsys, story, "--json", "--runs", str(synthetic)))
    words = why(monkeypatch, capsys, story, "--runs", str(synthetic))

    assert answer["verdict"].upper() in words
    assert all(h["cause"] in words for h in answer["hypotheses"][:1])
    assert "\x1b" not in words
    assert "\u202e" not in words


def test_two_questions_get_the_same_answer(
    synthetic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rules have no dice."""
    first, second = (why(monkeypatch, capsys, "stale_head", "--json", "--runs", str(synthetic)) for _ in range(2))

    assert first == second


LONG = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
while True:
    loss = torch.nn.functional.mse_loss(model(torch.randn(16, 8)), torch.randn(16, 1))
    loss.backward()
    optimizer.step()
"""


def test_a_killed_training_can_be_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `kill -9` in the middle of training the answer comes from what was recorded until then."""
    (tmp_path / "train.py").write_text(LONG)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "aitia", "run", "--runs", str(tmp_path / "runs"), "train.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not ((found := list_runs(tmp_path / "runs")) and open_run(None, tmp_path / "runs").n_steps > 50):
            assert time.monotonic() < deadline, f"no steps were recorded: {found}"
            assert process.poll() is None
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    answer = json.loads(why(monkeypatch, capsys, "--json", "--runs", str(tmp_path / "runs")))

    assert open_run(None, tmp_path / "runs").info.status == "killed"
    assert answer["hypotheses"][0]["cause"] == "loop.missing_zero_grad"


NO_PARAMETERS = """
import torch
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Tanh())
for _ in range(20):
    model(torch.randn(4, 2, 2)).sum()
"""


def test_a_model_without_parameters_gets_an_answer_without_a_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was trained, so nothing can be accused, and that is said in words."""
    (tmp_path / "train.py").write_text(NO_PARAMETERS)
    command = [sys.executable, "-m", "aitia", "run", "--runs", str(tmp_path / "runs"), "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    answer = json.loads(why(monkeypatch, capsys, "--json", "--runs", str(tmp_path / "runs")))

    assert answer["hypotheses"] == []
    assert answer["summary"]
