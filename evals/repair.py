"""Whether the repair holds: the fix is applied to a copy, and the repaired program run with seeds nobody has seen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aitia.agent.diagnosis import answer
from aitia.agent.incident import close
from aitia.engine.store.reader import Run
from aitia.evals.kill import Result, shows
from aitia.evals.recordings import SCRIPT, Recording
from aitia.evals.score import with_interval
from aitia.evals.zoo import Program, render

AT_ONCE = 2
"""Unseen seeds at the same time, as many as the proof itself runs."""
UNSEEN = (11, 12, 13)
"""Seeds of the check; recordings use those from 0 on."""


@dataclass(frozen=True)
class Repair:
    """What `aitia fix --apply` made of one program."""

    program: str
    faulty: bool
    cause: str | None
    changed: bool
    """Whether the program's file was changed at all."""
    holds: int
    """Of the unseen seeds, with how many the repaired program behaves as the truth says a repaired one does."""
    proved: bool
    """Whether a change of the text was called proved; a cause proved by a change at run time alone is no repair."""
    test_proved: bool
    seconds: float
    """Time `aitia fix` took."""
    ratio: float | None
    """The same as a multiple of the program's own recorded time."""
    reason: str = ""
    """What the proof said, and what was tried in vain."""

    @property
    def repaired(self) -> bool:
        """All unseen seeds are well."""
        return self.changed and self.holds == len(UNSEEN)


def repair(program: Program, variant: str, recording: Recording) -> Repair | None:
    """Diagnose, fix and apply in a copy of the program's folder; then run the result with unseen seeds."""
    if recording.path is None:
        return None
    work = Path(tempfile.mkdtemp(prefix="work-"))
    try:
        before = (recording.folder / SCRIPT).read_text("utf-8")
        (work / SCRIPT).write_text(before, encoding="utf-8")
        run = Run(recording.path)
        own = _played(program, before).seconds
        started = time.monotonic()
        incident = close(run, answer(run), work, apply=True)
        seconds = time.monotonic() - started
        after = (work / SCRIPT).read_text("utf-8")
        faults = program.faults if variant == "faulty" else ()
        texts = [_reseeded(program, faults, after, seed) for seed in UNSEEN] if after != before else []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            holds = sum(pool.map(partial(_well, program), texts))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Repair(
        program.name, variant == "faulty", incident.cause, after != before, holds,
        incident.verification.status == "proved" and bool(incident.fix.diff), incident.test_status == "proved",
        round(seconds, 1),
        round(seconds / own, 1) if own else None,
        "; ".join([str(incident.verification.details.get("reason") or incident.fix.summary), *incident.refuted])[:600],
    )  # fmt: skip


def summary(repairs: Sequence[Repair]) -> dict[str, Any]:
    """Shares over programs, each with its interval."""
    faulty, sound = [r for r in repairs if r.faulty], [r for r in repairs if not r.faulty]
    proved = [r for r in faulty if r.proved]
    ratios = [r.ratio for r in faulty if r.proved and r.ratio is not None]
    return {
        "repaired": with_interval({r.program: float(r.repaired) for r in faulty}),
        "proved": with_interval({r.program: float(r.proved) for r in faulty}),
        "test_proved": with_interval({r.program: float(r.test_proved) for r in faulty}),
        "wrongly_proved": with_interval({r.program: float(not r.repaired) for r in proved}),
        "sound_changed": with_interval({r.program: float(r.changed) for r in sound}),
        "ratio_median": float(np.median(ratios)) if ratios else None,
        "programs": [asdict(r) for r in repairs],
    }


def _reseeded(program: Program, faults: Sequence[str], repaired: str, seed: int) -> str:
    """The repaired text with another seed: lines that carry the seed are replaced, wherever they stand now."""
    old, new = (render(program, faults, s).source.splitlines() for s in (0, seed))
    swap = {a: b for a, b in zip(old, new, strict=True) if a != b}
    return "\n".join(swap.get(line, line) for line in repaired.splitlines()) + "\n"


def _well(program: Program, source: str) -> bool:
    """Whether a program behaves as the truth says a repaired one does."""
    found = _played(program, source)
    return found.code is not None and shows(program, found, repaired=True)


def _played(program: Program, source: str) -> Result:
    """The program alone, as its user starts it; no code when it ran into its deadline."""
    with tempfile.TemporaryDirectory(prefix="work-") as folder:
        (Path(folder) / SCRIPT).write_text(source, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *program.truth.args], cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        started = time.monotonic()
        try:
            out, err = process.communicate(timeout=program.truth.timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Result(None, out, err, time.monotonic() - started)
    return Result(process.returncode, out, err, time.monotonic() - started)
