"""A process that has loaded torch once and forks a replay for every job it is given, two at a time.

`python -m aitia.engine.replay.nursery module…` reads batches of jobs as JSON lines and answers with their outcomes; the
modules are those of the program's imports that are worth loading once. `Nursery` is its other end. Where a system
cannot fork there is no replay.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.engine.replay import confine
from aitia.engine.replay.sandbox import environment

if TYPE_CHECKING:
    from aitia.engine.replay.job import Job

POLL_S = 0.02
GRACE_S = 2.0
"""After its deadline a program is asked to end, so that its recording gets an end; then it is killed."""
WORTH_PRELOADING = frozenset({"numpy", "torch", "torchvision", "sklearn", "scipy", "pandas"})
"""Large libraries whose import does nothing but take time."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    code: int | None
    """Exit code; None when the deadline killed it."""
    seconds: float


class NurseryError(RuntimeError):
    """The forking process is gone or could not be started."""


class Nursery:
    """Runs jobs in children of a process that has torch loaded; a context, so that nothing of it is left behind."""

    def __init__(self, folder: Path, modules: Sequence[str] = ()) -> None:
        if not hasattr(os, "fork"):
            raise NurseryError("this system cannot fork, so programs cannot be run again here")
        self._errors = open(folder / "nursery.txt", "wb")  # noqa: SIM115 - closed with the process that writes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aitia.engine.replay.nursery", *modules], cwd=folder, env=environment(folder),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, start_new_session=True,
        )  # fmt: skip
        self._folder = folder

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(GRACE_S if exception[0] is None else 0.1)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its children die with it
            self._process.wait()
        for pipe in (self._errors, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(self, jobs: Sequence[Job], at_once: int = 2) -> list[Outcome]:
        """Run all jobs, at most so many at the same time; outcomes in the order of the jobs."""
        if self._process.stdin is None or self._process.stdout is None:
            raise NurseryError("the nursery has no pipes")
        try:
            self._process.stdin.write(json.dumps({"jobs": [asdict(j) for j in jobs], "at_once": at_once}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise NurseryError(self._last_words()) from error
        line = self._process.stdout.readline()
        if not line:
            raise NurseryError(self._last_words())
        return [Outcome(**each) for each in json.loads(line)]

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = (self._folder / "nursery.txt").read_text("utf-8", "replace").strip().splitlines()
            if lines:
                return f"the process that runs programs again ended: {lines[-1]}"
        return "the process that runs programs again ended"


# ---- in the forking process ------------------------------------------------------------------------------------------


def serve(modules: Sequence[str]) -> None:
    """Load what is worth it, then fork what is asked for, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # an import that prints must not disturb the answers
    for module in (*modules, "aitia.engine.replay.child"):
        with suppress(Exception):
            importlib.import_module(module)
    confine.adopt_orphans()
    confine.die_with_parent()
    for line in sys.stdin:
        batch = json.loads(line)
        outcomes = _batch([dict(j) for j in batch["jobs"]], int(batch["at_once"]))
        answers.write(json.dumps([asdict(o) for o in outcomes]) + "\n")
        answers.flush()


@dataclass
class _Child:
    number: int
    started: float
    deadline: float
    asked: bool = False


def _batch(jobs: list[dict[str, Any]], at_once: int) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    active: dict[int, _Child] = {}
    waiting = list(enumerate(jobs))
    while waiting or active:
        while waiting and len(active) < max(1, at_once):
            number, job = waiting.pop(0)
            now = time.monotonic()
            active[_fork(job)] = _Child(number, now, now + float(job["seconds"]))
        time.sleep(POLL_S)
        for pid, child in list(active.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            now = time.monotonic()
            if ended:
                late = child.asked
                outcomes[child.number] = _outcome(None if late else os.waitstatus_to_exitcode(status), child)
            elif now > child.deadline + GRACE_S:
                _kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                outcomes[child.number] = _outcome(None, child)
            else:
                if now > child.deadline and not child.asked:
                    child.asked = True
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                continue
            _kill(pid, signal.SIGKILL)  # what it started may outlive it
            del active[pid]
    _end_orphans()
    return [outcomes[n] for n in range(len(jobs))]


def _fork(job: dict[str, Any]) -> int:
    from aitia.engine.replay.child import become  # has torch loaded
    from aitia.engine.replay.job import Job

    job["argv"] = tuple(job["argv"])
    made = Job(**job)
    pid = os.fork()
    if pid == 0:
        become(made)
    return pid


def _outcome(code: int | None, child: _Child) -> Outcome:
    return Outcome(code, round(time.monotonic() - child.started, 2))


def _kill(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_orphans() -> None:
    """End processes that left their group; without a parent they have come to us."""
    for _ in range(10):
        left = confine.children(os.getpid())
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


if __name__ == "__main__":
    serve(sys.argv[1:])
