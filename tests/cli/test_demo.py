"""The demo's programs die of what they say, and aitia says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aitia.commands.demo import _train
from aitia.demo import DEMOS, Demo
from aitia.engine.causes import CAUSES
from aitia.engine.reason import diagnose
from aitia.engine.store.reader import open_run


@pytest.mark.parametrize("demo", DEMOS, ids=lambda d: d.name)
def test_a_program_does_not_give_itself_away(demo: Demo) -> None:
    """The story is the user's; neither it nor the program names the cause."""
    telltale = {demo.cause, demo.cause.partition(".")[2], "bug", "fault", "wrong", "broken", "forgot", "fixme"}
    words = set(re.findall(r"[\w.]+", f"{demo.source} {demo.story}".lower()))

    assert demo.cause in CAUSES
    assert words & telltale == set()


@pytest.mark.slow
@pytest.mark.parametrize("demo", DEMOS, ids=lambda d: d.name)
def test_the_cause_is_found(demo: Demo, tmp_path: Path) -> None:
    """Recorded as a user would, each program is convicted of its own cause."""
    (tmp_path / "train.py").write_text(demo.source)
    _train(tmp_path, tmp_path / "runs", quiet=True)
    diagnosis = diagnose(open_run(None, tmp_path / "runs"))

    assert diagnosis.verdict == "faulty"
    assert diagnosis.hypotheses[0].cause == demo.cause


@pytest.mark.slow
def test_the_whole_demo_leaves_fix_journal_and_test_behind(tmp_path: Path) -> None:
    """All of it lies under aitia-demo/, and the paths that are printed exist."""
    command = [sys.executable, "-m", "aitia", "demo", "crash", "--model", "replay", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["diagnosis"]["hypotheses"][0]["cause"] == told["fault"] == "shape.mismatch"
    assert (told["diagnosis"]["mode"], told["diagnosis"]["notes"]) == ("llm", [])
    assert Path(told["incident"]["journal"]).is_file()
    assert Path(told["incident"]["test"]).is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["aitia-demo"]
