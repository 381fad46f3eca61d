"""Recordings of small programs: in this process with `record`, in a process of its own with `launch`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aitia.engine.capture.frames import set_base
from aitia.engine.capture.watch import watch
from aitia.engine.store.reader import Run


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Run]:
    """Run a function under `watch` and read the recording; a fault of the recorder fails the test."""

    def run(program: Callable[[], object], **options: object) -> Run:
        with watch(runs=tmp_path / "runs", **options) as watched:
            program()
        recording = watched.run()
        faults = [f.data for f in recording.facts("recorder") if "failed" in str(f.data.get("what"))]
        assert not faults, faults
        return recording

    yield run
    set_base(os.getcwd())


@dataclass
class Outcome:
    """What a process left behind."""

    code: int
    out: str
    err: str
    run: Run | None


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Outcome]:
    """Run source text as `train.py`, plainly or under the recorder."""

    def go(source: str, *args: str, recorded: bool = True) -> Outcome:
        (tmp_path / "train.py").write_text(textwrap.dedent(source))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable]
        if recorded:
            command += ["-m", "aitia.engine.capture.launch", "--runs", str(tmp_path / "runs")]
        done = subprocess.run(
            [*command, "train.py", *args], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        found = sorted((tmp_path / "runs").glob("*/run.db")) if recorded else []
        return Outcome(done.returncode, done.stdout, done.stderr, Run(found[-1].parent) if found else None)

    return go
