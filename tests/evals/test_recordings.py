"""Recordings are neutral, kept, and made anew when something changed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aitia.engine.store.reader import Run
from aitia.evals.recordings import Job, kept, record

HELLO = "import sys\nprint('args', sys.argv)\n"


def ended(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends in time: a signal is not waited for, and init collects when it gets to it."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except ProcessLookupError:
            return True
        except FileNotFoundError:
            state = ""
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def job(folder: Path, source: str = HELLO, limit_s: float = 60.0) -> Job:
    """A job whose program needs no torch."""
    return Job(source, ("--n", "3"), limit_s, str(folder), "k1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Path]:
    """One recorded job."""
    folder = tmp_path_factory.mktemp("cache") / "dev" / "telltale_name" / "faulty-0"
    one = job(folder)
    record(one)
    return one, folder


def test_the_program_does_not_learn_its_own_name(made: tuple[Job, Path]) -> None:
    """Neither script, folder nor command of the recording tells the program's name or variant."""
    one, _ = made
    recording = kept(one)
    assert recording is not None
    assert recording.path is not None
    info = Run(recording.path).info
    assert recording.result.stdout == "args ['train.py', '--n', '3']\n"
    assert "telltale" not in info.model_dump_json()
    assert "faulty" not in info.model_dump_json()


def test_a_recording_is_used_until_its_key_changes(made: tuple[Job, Path]) -> None:
    """The key holds program, recorder and torch; stale recordings are used only on request."""
    one, _ = made
    changed = replace(one, key="k2")

    assert kept(one) is not None
    assert kept(changed) is None
    assert kept(changed, stale_ok=True) is not None


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """A timeout is recorded as such, and nothing of the program lives on."""
    source = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    recording = record(job(tmp_path / "x", source, limit_s=8.0))

    assert recording.code is None
    assert ended(int(recording.result.stdout))
