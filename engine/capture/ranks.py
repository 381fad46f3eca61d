"""Ranks that a program starts itself: every child process that joins a process group gets a recording of its own.

Ranks that a launcher starts (`torchrun`) are recorded because each of them is the recorded script. A program that forks
or spawns its ranks (`torch.multiprocessing`, `multiprocessing`) runs the training in children of the recorded process:
there the recording begins when the child joins the group. Nothing is ever exchanged with the other ranks: each writes
its own run directory, and readers put them together.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aitia.engine.capture.frames import set_base
from aitia.engine.capture.session import Level, Session
from aitia.engine.records import RunStatus

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

LAST: Final = 100
"""Priority among what multiprocessing does at a process's end: before its own clearing up."""

ORIGINAL: Final = "_aitia_original"
"""Where a function of ours keeps the one it stands for: of several plans in one process the last one counts."""


@dataclass(frozen=True)
class Plan:
    """What a child needs to know to record itself; can be sent to a fresh interpreter."""

    root: Path
    name: str
    command: tuple[str, ...]
    script: str | None
    level: Level
    cwd: str
    folder: str
    budget: float | None = None

    def follow(self) -> None:
        """Record this process from the moment it joins a process group."""
        import torch.distributed as dist

        if not dist.is_available():
            return
        original, mine = _plain(dist.init_process_group), os.getpid()

        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if os.getpid() != mine or parent_process() is not None:
                with contextlib.suppress(Exception):  # no fault of ours may reach the training
                    begin(self, dist.get_rank(), dist.get_world_size())
            return result

        vars(init_process_group)[ORIGINAL] = original
        dist.init_process_group = init_process_group


class Rank:
    """The function that a fresh interpreter runs as one rank, with the recording prepared."""

    def __init__(self, function: Callable[..., Any], plan: Plan) -> None:
        self._function = function
        self._plan = plan

    def __call__(self, *args: Any) -> Any:
        with contextlib.suppress(Exception):  # as above
            set_base(self._plan.cwd, self._plan.folder)
            self._plan.follow()
        return self._function(*args)


def watch_children(plan: Plan) -> None:
    """torch is there: follow the children of this process, forked or spawned."""
    import torch.multiprocessing as mp

    plan.follow()
    spawn: Any = sys.modules["torch.multiprocessing.spawn"]  # the package's own `spawn` is a function
    original = _plain(spawn.start_processes)

    def start_processes(fn: Any, *args: Any, **kwargs: Any) -> Any:
        method = kwargs.get("start_method", args[4] if len(args) > 4 else "spawn")
        return original(fn if method == "fork" else Rank(fn, plan), *args, **kwargs)

    vars(start_processes)[ORIGINAL] = original
    spawn.start_processes = start_processes
    vars(mp)["start_processes"] = start_processes


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that ours stands for, or itself."""
    found: Callable[..., Any] = vars(function).get(ORIGINAL, function)
    return found


def begin(plan: Plan, rank: int, world: int) -> Recorder | None:
    """Record this child as one rank until it ends; None where it is recorded already."""
    from aitia.engine.capture.logs import Logs, Sources
    from aitia.engine.capture.recorder import Recorder, current

    active = current()
    if active is not None and active.session.pid == os.getpid():
        return None
    session = Session(
        plan.root, plan.name, plan.command, plan.script, plan.level, rank=rank, world=world, budget=plan.budget
    )
    recorder = Recorder(session)
    recorder.install()
    logs, sources = Logs(session), Sources(session)
    if plan.script is not None:
        sources.keep(os.path.join(plan.cwd, plan.script))

    def finish() -> None:
        error = _ending()
        recorder.safe(recorder.finish)
        recorder.off = False
        recorder.safe(recorder.uninstall)
        with contextlib.suppress(Exception):
            sources.look()
        with contextlib.suppress(Exception):
            logs.close()
        _close(recorder, error)

    util.Finalize(None, finish, exitpriority=LAST)
    return recorder


def _close(recorder: Recorder, error: BaseException | None) -> None:
    from aitia.engine.capture.failure import failure_of

    session = recorder.session
    if error is None:
        session.close(RunStatus.FINISHED, 0)
        return
    failure = None
    with contextlib.suppress(Exception):
        failure = failure_of(error, recorder.name_of)
        where = (failure.file, failure.line) if failure.file and failure.line else None
        session.fact("exception", failure.module or "", failure.model_dump(mode="json"), where)
    session.close(RunStatus.CRASHED, 1, failure)


def _ending() -> BaseException | None:
    """The exception that ends this child: multiprocessing's helpers turn it into an exit that remembers it."""
    error = sys.exc_info()[1]
    if isinstance(error, SystemExit):
        return error.__context__ if error.code not in (0, None) else None
    return error
