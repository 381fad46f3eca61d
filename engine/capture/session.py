"""One recording before torch is there: the pen, the clock, the step counter. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from aitia.engine.capture.frames import user_frame
from aitia.engine.records import Failure, RunInfo, RunStatus
from aitia.engine.store.remote import mirror_of, remote_of, url_of
from aitia.engine.store.schema import RANKS
from aitia.engine.store.upload import Upload
from aitia.engine.store.writer import RunWriter, new_run_id

PACK_SECONDS: Final = 5.0
"""How long the end of a program may be held up to make its run small; what is left stays readable as it is."""
ENDED: Final = frozenset({RunStatus.FINISHED, RunStatus.CRASHED})
UPLOAD_SECONDS: Final = 60.0
"""How long the end of a program waits for its run to be sent away; what is not sent then stays here."""
HURRY_SECONDS: Final = 5.0
"""The same after a signal: a scheduler kills what does not go."""
LEAST: Final = 0.01
"""Percent; a smaller budget means hardly anything, and 0 would divide by nothing."""
Level = Literal["light", "normal", "deep"]


def aitia_version() -> str:
    """Version of this package."""
    import aitia

    return aitia.__version__


class Session:
    """The recording of one process: where facts go, and what time it is."""

    def __init__(
        self,
        root: Path,
        name: str,
        command: tuple[str, ...],
        script: str | None,
        level: Level,
        *,
        rank: int | None = None,
        world: int | None = None,
        budget: float | None = None,
    ) -> None:
        url = url_of(root)
        root = mirror_of(url) if url else root.absolute()  # the program may change its directory
        remote = remote_of(root)
        rank = int(os.environ.get("RANK", "0") or 0) if rank is None else rank
        world = int(os.environ.get("WORLD_SIZE", "1") or 1) if world is None else world
        if rank:
            # What a person asks about is rank 0; the others lie beside it, where the list of runs does not show them.
            root, name = root / RANKS, f"{name}-rank{rank}"
        root.mkdir(parents=True, exist_ok=True)
        self.created = time.time()
        self.started = time.perf_counter()
        self.step = 0
        """Finished optimizer steps."""
        self.level: Level = level
        self.budget = budget
        """Share of the program's time that full measurements may take; None: the level's own."""
        self.pid = os.getpid()
        run_id = new_run_id(root, name, self.created)
        info = RunInfo(
            id=run_id,
            command=command,
            cwd=os.getcwd(),
            created=self.created,
            pid=self.pid,
            rank=rank,
            world_size=world,
            group=group_name() if world > 1 else None,
            versions={"python": platform.python_version(), "aitia": aitia_version()},
            script=script,
            level=level,
        )
        self.path = root / run_id
        self.writer = RunWriter(self.path, info)
        self.upload = Upload(remote, self.path) if remote is not None else None
        self.closed = False

    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    def fact(
        self,
        kind: str,
        subject: str = "",
        data: Mapping[str, Any] | None = None,
        where: tuple[str, int] | None = None,
    ) -> int:
        """Keep a fact of the step that is about to end; `where` defaults to the user's line that is running."""
        file, line = where or user_frame() or (None, None)
        return self.writer.fact(kind, self.step + 1, self.seconds(), subject, data, file, line)

    def versions(self, **more: str) -> None:
        """Add to the versions of the run."""
        self.writer.update(versions={**self.writer.info.versions, **more})

    def close(self, status: RunStatus, exit_code: int | None, failure: Failure | None = None) -> None:
        """Write the end of the run and put the pen down."""
        if self.closed or os.getpid() != self.pid:
            return
        self.closed = True
        self.writer.update(status=status, exit_code=exit_code, failure=failure, ended=time.time())
        self.writer.flush()
        self.writer.close()
        if status in ENDED:  # who sends a signal wants the process gone
            with contextlib.suppress(Exception, KeyboardInterrupt):  # the program is over: an interrupt only ends this
                from aitia.engine.store.pack import pack

                pack(self.path, PACK_SECONDS)
        if self.upload is not None:
            with contextlib.suppress(KeyboardInterrupt):
                self.upload.close(UPLOAD_SECONDS if status in ENDED else HURRY_SECONDS)


def group_name() -> str:
    """What the ranks of one program on this machine have in common: who started them."""
    return f"{platform.node()}/{os.getppid()}"


def share(percent: float | None) -> float | None:
    """A user's budget as a share of the time."""
    return None if percent is None else max(percent, LEAST) / 100


def switched_off() -> bool:
    """AITIA=0 in the environment: nothing is recorded."""
    return os.environ.get("AITIA", "").strip().lower() in {"0", "off", "false", "no"}


def recording_name(argv: list[str]) -> str:
    """Last part of a run's id: the script's or module's name."""
    if argv[:1] == ["-m"]:
        return argv[1] if len(argv) > 1 else "module"
    return Path(argv[0]).stem if argv else Path(sys.argv[0]).stem or "run"
