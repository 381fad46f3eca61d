"""Inside a replayed process: limits, confinement, changes, the recorder, and the bound on its steps.

`become` turns a forked process into one replay and never returns; `aitia.testing` uses the same pieces without a fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from aitia.engine.capture.launch import Launch
from aitia.engine.capture.session import Level
from aitia.engine.replay import change_losses, change_modes, change_steps, change_values, confine
from aitia.engine.replay.bench import BENEATH, ON_TOP, by_recorder, put, replace
from aitia.engine.replay.job import Job
from aitia.engine.replay.vocabulary import VARIABLE, Change, load

TABLES = (change_steps, change_modes, change_losses, change_values)
"""The modules that fill the tables of changes."""
OURS = os.path.dirname(os.path.dirname(__file__))
"""The recorder looks at values that are not finite, too."""
MAX_MASKED = 20
"""Places at which a value is hidden that are told."""


def become(job: Job) -> NoReturn:
    """Turn this forked process into the job."""
    code = 1
    try:
        os.setsid()
        confine.die_with_parent()
        for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, job.output, os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(name, flags, 0o600), number)
        os.dup2(1, 2)
        os.chdir(job.cwd)
        _surroundings(job)
        limit(job.limits)
        confine.writes_only([Path(job.cwd).parent, Path(job.runs)])
        code = _test(job) if job.kind == "test" else run_recorded(job.argv, Path(job.runs), job.steps)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever ends it, the parent reads it in the output
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def limit(limits: dict[str, int]) -> None:
    """Bounds for memory and files of this process, where the system has them."""
    try:
        import resource
    except ImportError:
        return
    wanted = {"memory": resource.RLIMIT_DATA, "file": resource.RLIMIT_FSIZE}
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(wanted[name], (value, value))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _surroundings(job: Job) -> None:
    temporary = Path(job.cwd).parent / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ.update(HOME=job.cwd, TMPDIR=str(temporary))
    os.environ[VARIABLE] = job.changes
    tempfile.tempdir = None
    if job.root:
        root = os.path.realpath(job.root)
        sys.path[:] = [
            job.cwd + os.path.realpath(p)[len(root) :] if p and os.path.realpath(p).startswith(root + os.sep) else p
            for p in sys.path
            if "site-packages" in p or p
        ]


def _test(job: Job) -> int:
    import pytest

    from aitia.engine.replay.made import MADE

    MADE.update({None if k == "all" else int(k): Path(v) for k, v in job.recorded.items()})
    sys.path[0] = job.cwd
    return int(pytest.main(list(job.argv)))


def run_recorded(argv: Sequence[str], runs: Path, steps: int | None) -> int:
    """Run a program under the recorder with the changes that the environment names; returns its exit code."""
    return Replay(argv, "normal", runs, load(os.environ.get(VARIABLE)), steps).run()


class Replay(Launch):
    """A recorded run with changes, bounded in steps."""

    def __init__(
        self, argv: Sequence[str], level: Level, root: Path, changes: tuple[Change, ...], steps: int | None
    ) -> None:
        super().__init__(argv, level, root)
        self._changes = changes
        self._steps = steps

    def install(self) -> None:
        """The changes beneath the recorder, the recorder, the changes on top of it, the bound."""
        put(self._changes, BENEATH)
        super().install()
        put(self._changes, ON_TOP)
        self._watch_masks()
        if self._steps is not None:
            stop_after(self._steps)

    def _watch_masks(self) -> None:
        """Tell of functions that hide a value that is not finite: a repair that uses them has repaired nothing."""
        told: set[str] = set()

        def make(original: Any) -> Any:
            def nan_to_num(x: Any, *args: Any, **kwargs: Any) -> Any:
                if (
                    isinstance(x, torch.Tensor)
                    and len(told) < MAX_MASKED
                    and not bool(torch.isfinite(x.detach()).all())
                ):
                    recorder = self.recorder
                    if recorder is not None and not recorder.busy:
                        frame = sys._getframe(1)
                        place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
                        if place not in told and not frame.f_code.co_filename.startswith(OURS):
                            told.add(place)
                            early = not x.requires_grad and not _in_a_layer(frame)
                            told_of = {"function": "nan_to_num", "in_data": early}
                            recorder.safe(recorder.fact, "masked", place, told_of)
                return original(x, *args, **kwargs)

            return nan_to_num

        for owner in (torch, torch.Tensor):
            replace(owner, "nan_to_num", make)
        replace(torch.Tensor, "nan_to_num_", make)


def _in_a_layer(frame: FrameType | None) -> bool:
    """Whether a module's forward is running, whose values are no data any more."""
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), torch.nn.Module) and frame.f_code.co_name != "__init__":
            return True
        frame = frame.f_back
    return False


def stop_after(limit: int) -> None:
    """End the program as `sys.exit(0)` would, when every optimizer took its steps or one is about to exceed them."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    taken: dict[int, int] = {}

    def before(optimizer: object, args: object, kwargs: object) -> None:
        if by_recorder():
            return
        if not taken:  # only now, so that it comes after the recorder's own hook
            register_optimizer_step_post_hook(after)
        taken[id(optimizer)] = taken.get(id(optimizer), 0) + 1
        if taken[id(optimizer)] > limit:
            raise SystemExit(0)

    def after(optimizer: object, args: object, kwargs: object) -> None:
        if not by_recorder() and min(taken.values()) >= limit:
            raise SystemExit(0)

    register_optimizer_step_pre_hook(before)
