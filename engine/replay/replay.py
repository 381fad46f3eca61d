"""Runs the program of a recording again: several trials side by side, each in a copy of the project, each recorded."""

from __future__ import annotations

import ast
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aitia.engine.replay import sandbox
from aitia.engine.replay.job import Job
from aitia.engine.replay.nursery import WORTH_PRELOADING, Nursery, NurseryError
from aitia.engine.replay.vocabulary import Change, dump
from aitia.engine.store.reader import Run, list_runs

PORT = re.compile(r"\bMASTER_PORT\b|tcp://")
"""What a program whose ranks meet at a fixed port names: two of its runs at the same time meet each other."""
AT_ONCE = 2
"""Trials at the same time: a placebo and a change beside it, on any machine."""
SHORTEST_S, LONGEST_S = 30.0, 300.0
"""Deadline of one trial: below, starting up decides; above, nobody waits."""
SLACK = 4.0
"""A trial may take so many times the recorded time: another one runs beside it."""
TAIL = 3000
"""Characters of a trial's output that are kept."""


@dataclass(frozen=True)
class Trial:
    """One way to run the program again."""

    label: str
    """`placebo`, `repaired`, `changed`, `mutant`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Texts that differ from the recorded ones."""
    changes: tuple[Change, ...] = ()
    seed: int = 0
    """How far the program's seeds are shifted; 0 is the recorded run."""
    steps: int | None = None
    """Optimizer steps; None: to its own end."""


@dataclass(frozen=True)
class Played:
    """One trial that was run."""

    trial: Trial
    run: Run | None
    """Its recording; None where it left none."""
    code: int | None
    """Exit code; None when the deadline ended it."""
    seconds: float
    output: str
    """The end of what it printed."""


class Replays:
    """A context in which the program of a run can be run again; everything it made is gone when it closes."""

    def __init__(self, run: Run, root: Path, *, seconds: float | None = None, preload: Sequence[str] = ()) -> None:
        self.run = run
        self.root = root
        self.seconds = seconds if seconds is not None else deadline(run)
        self.spent = 0.0
        """Time of the trials so far, each counted for itself."""
        self._preload = (*_imports(run.sources.values()), *preload)
        self._folder = Path(tempfile.mkdtemp(prefix="aitia-replay-"))
        self._nursery: Nursery | None = None
        self._count = 0

    def __enter__(self) -> Replays:
        with suppress(NurseryError):  # loads its libraries while the repair is looked for; asked later, it says why not
            self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._nursery is not None:
            self._nursery.__exit__(*exception)
        shutil.rmtree(self._folder, ignore_errors=True)

    def play(self, trials: Sequence[Trial]) -> list[Played]:
        """Run the trials, two at a time."""
        folders = [self._copy(t.sources) for t in trials]
        jobs = [
            Job(
                argv=command(self.run), cwd=str(folder / "project"), runs=str(folder / "runs"),
                output=str(folder / "output.txt"), seconds=self.seconds, steps=t.steps,
                changes=dump((*t.changes, *_seed(t.seed))), root=str(self.root), limits=limits(),
            )
            for t, folder in zip(trials, folders, strict=True)
        ]  # fmt: skip
        alone = any(PORT.search(text) for text in self.run.sources.values())
        outcomes = self._start().run(jobs, 1 if alone else AT_ONCE)
        played = []
        for trial, folder, outcome in zip(trials, folders, outcomes, strict=True):
            found = list_runs(folder / "runs") if (folder / "runs").is_dir() else []
            self.spent += outcome.seconds
            recording = Run(found[0]) if found else None
            played.append(Played(trial, recording, outcome.code, outcome.seconds, _tail(folder / "output.txt")))
        return played

    def test(self, text: str, played: Played, seconds: float) -> tuple[int | None, str]:
        """Run a regression test against a trial's recording; exit code of pytest (None: deadline) and its output."""
        return self.tests(text, [played], seconds)[0]

    def tests(self, text: str, all_played: Sequence[Played], seconds: float) -> list[tuple[int | None, str]]:
        """The same against several recordings, two at a time."""
        folders = [self._copy(played.trial.sources) for played in all_played]
        jobs = [self._test_job(text, p, folder, seconds) for p, folder in zip(all_played, folders, strict=True)]
        outcomes = self._start().run(jobs, AT_ONCE)
        return [(o.code, _tail(folder / "output.txt")) for o, folder in zip(outcomes, folders, strict=True)]

    def _test_job(self, text: str, played: Played, folder: Path, seconds: float) -> Job:
        project = folder / "project"
        path = project / "tests" / "test_proof.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        (folder / "empty.ini").write_text("[pytest]\n", encoding="utf-8")
        steps = "all" if played.trial.steps is None else str(played.trial.steps)
        argv = ("-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", "--noconftest", "-c",
                str(folder / "empty.ini"), "--rootdir", str(project), str(path))  # fmt: skip
        return Job(
            argv=argv, cwd=str(project), runs=str(folder / "runs"), output=str(folder / "output.txt"), seconds=seconds,
            kind="test", recorded={} if played.run is None else {steps: str(played.run.path)}, limits=limits(),
        )  # fmt: skip

    def _start(self) -> Nursery:
        if self._nursery is None:
            self._nursery = Nursery(self._folder, self._preload)
        return self._nursery

    def _copy(self, sources: Mapping[str, str]) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        (folder / "runs").mkdir()
        sandbox.copy(self.root, folder / "project", {**self.run.sources, **sources})
        return folder


def command(run: Run) -> tuple[str, ...]:
    """How the recorded program is started: a script or `-m module`, and its arguments."""
    info = run.info
    return info.command if info.script is None else (info.script, *info.command[1:])


def repeatable(run: Run) -> bool:
    """Whether there is a script or a module to run again; a block recorded in a notebook has none."""
    return run.info.script is not None or is_module(run)


def is_module(run: Run) -> bool:
    """Whether the program was started as `-m module`."""
    return run.info.script is None and len(run.info.command) > 1 and run.info.command[0] == "-m"


def deadline(run: Run) -> float:
    """Seconds that one trial may take."""
    info = run.info
    took = (info.ended or info.created) - info.created
    return min(LONGEST_S, max(SHORTEST_S, SLACK * took))


def limits() -> dict[str, int]:
    """Bytes that one trial may use: two run at a time."""
    memory = sandbox.memory()
    return {"file": sandbox.FILE_BYTES} | ({"memory": memory // AT_ONCE} if memory > 0 else {})


def _seed(shift: int) -> tuple[Change, ...]:
    return (Change(name="other_seed", value=float(shift)),) if shift else ()


def _imports(sources: Iterable[str]) -> tuple[str, ...]:
    """Large libraries that the program imports, as it imports them."""
    found: list[str] = []
    for text in sources:
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.append(node.module)
    return tuple(dict.fromkeys(n for n in found if n.partition(".")[0] in WORTH_PRELOADING))


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
