"""Recordings of the zoo's programs: made once in a neutral folder, cached, and made anew when code has changed.

What is recorded is the rendered program under the name `train.py` in an empty temporary folder, so that nothing in the
recording tells which program it is or whether the fault is in.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from aitia.evals.kill import POLL_S, PRELOADED, Result, own_streams
from aitia.evals.zoo import ROOT, Program, render

ENGINE = ROOT.parent / "engine"
SCRIPT = "train.py"
SLACK = 3.0
"""A recorded program may take this many times its own time limit: the recorder's finish and its probes come on top."""


_forks = False
"""Whether this process is a worker made for forking. Any other (threads, foreign executors) starts a new Python."""


@dataclass(frozen=True)
class Job:
    """One program to record: everything a worker needs, and nothing it must not know."""

    source: str
    args: tuple[str, ...]
    limit_s: float
    folder: str
    """Where the recording is kept."""
    key: str
    """Changes whenever the recording would."""


@dataclass(frozen=True)
class Recording:
    """One recorded program."""

    folder: Path
    key: str
    code: int | None
    """Exit status; None after a timeout."""
    seconds: float
    run: str | None
    """Name of the run under `folder/runs`, None where nothing was recorded."""

    @property
    def path(self) -> Path | None:
        """The run directory."""
        return self.folder / "runs" / self.run if self.run else None

    @property
    def result(self) -> Result:
        """How the program ended, for the check that its symptom showed."""
        texts = [(self.folder / name).read_text("utf-8", "replace") for name in ("stdout.txt", "stderr.txt")]
        return Result(self.code, texts[0], texts[1], self.seconds)


def job_for(program: Program, variant: str, seed: int, root: Path) -> Job:
    """The job that records one variant (`faulty`, `repaired`, `healthy`) of a program with a seed."""
    faults = program.faults if variant == "faulty" else ()
    source = render(program, faults, seed).source
    parts = (source, repr(program.truth.args), recorder_digest(), importlib.metadata.version("torch"))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = root / program.split / program.name / f"{variant}-{seed}"
    return Job(source, program.truth.args, program.truth.timeout_s * SLACK, str(folder), key)


def kept(job: Job, *, stale_ok: bool = False) -> Recording | None:
    """The recording that an earlier evaluation made of the same job, if there is one."""
    folder = Path(job.folder)
    try:
        data = json.loads((folder / "recording.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if data["key"] != job.key and not stale_ok:
        return None
    return Recording(folder, data["key"], data["code"], data["seconds"], data["run"])


def preload() -> None:
    """Make this process a worker that forks: import what every program needs once, so that a fork starts in no time."""
    global _forks  # noqa: PLW0603 - a property of the process, set once when it becomes a worker
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: its thread count is fixed at import
    for module in (*PRELOADED, "aitia.engine.capture.launch"):
        importlib.import_module(module)
    _forks = hasattr(os, "fork")


def record(job: Job) -> Recording:
    """Run one job under the recorder and keep what it wrote."""
    folder = Path(job.folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    work = Path(tempfile.mkdtemp(prefix="work-"))
    try:
        (work / SCRIPT).write_text(job.source, encoding="utf-8")
        started = time.monotonic()
        code = _forked(job, work) if _forks else _spawned(job, work)
        seconds = round(time.monotonic() - started, 2)
        shutil.copy(work / SCRIPT, folder / SCRIPT)
        for name in ("stdout.txt", "stderr.txt"):
            (folder / name).touch()
            if (work / name).is_file():
                shutil.copy(work / name, folder / name)
        runs = work / ".runs"
        if runs.is_dir():
            shutil.copytree(runs, folder / "runs", symlinks=True)
        recording = Recording(folder, job.key, code, seconds, _main_run(folder / "runs"))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    data = {k: v for k, v in asdict(recording).items() if k != "folder"}
    (folder / "recording.json").write_text(json.dumps(data), encoding="utf-8")
    return recording


def _forked(job: Job, work: Path) -> int | None:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(job, work)
    deadline = time.monotonic() + job.limit_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(POLL_S)


def _become(job: Job, work: Path) -> None:
    """In the child: turn into `aitia run train.py args…` and never return."""
    code = 1
    try:
        os.setsid()  # a timeout then takes the program's own children with it
        os.chdir(work)
        for number, name in ((0, os.devnull), (1, "stdout.txt"), (2, "stderr.txt")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        own_streams()
        from aitia.engine.capture.launch import run_script

        code = run_script([SCRIPT, *job.args], level="normal", root=work / ".runs")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def _spawned(job: Job, work: Path) -> int | None:
    command = [sys.executable, "-m", "aitia", "run", "--runs", str(work / ".runs"), SCRIPT, *job.args]
    with open(work / "stdout.txt", "wb") as out, open(work / "stderr.txt", "wb") as err:
        process = subprocess.Popen(
            command, cwd=work, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            return process.wait(job.limit_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def _main_run(runs: Path) -> str | None:
    """The run to ask about: of several (a program that starts ranks) rank 0's, which began last."""
    found = sorted(p.name for p in runs.iterdir() if (p / "run.db").is_file()) if runs.is_dir() else []
    return found[-1] if found else None


def recorder_digest() -> str:
    """Hash of the code that decides what a recording holds."""
    return _digest(("capture", "store", "records.py"))


def reasoning_digest() -> str:
    """Hash of the code and data that decide what is answered about a recording."""
    return _digest(tuple(p.name for p in ENGINE.iterdir() if p.name != "capture"))


@cache
def repairing_digest() -> str:
    """Hash of the code that decides what a repair is and whether it is proved."""
    hasher = hashlib.sha256(reasoning_digest().encode())
    for path in sorted((ROOT.parent / "agent").rglob("*.py")):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()[:16]


@cache
def _digest(parts: tuple[str, ...]) -> str:
    hasher = hashlib.sha256()
    for path in sorted(p for p in ENGINE.rglob("*") if p.suffix in {".py", ".json", ".toml"}):
        name = path.relative_to(ENGINE)
        if name.parts[0] in parts:
            hasher.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()[:16]
