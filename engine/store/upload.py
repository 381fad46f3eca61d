"""The sender of a recorder whose runs live at a URL: what is complete goes during the training, the rest at its end."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Final

from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run, list_runs
from aitia.engine.store.remote import FETCHED, Remote

EVERY_SECONDS: Final = 10.0
"""How often it looks for what is new."""
TELL_SECONDS: Final = 3.0
"""Waiting longer than this at the end of a program is explained."""
SMALL_BYTES: Final = 2_000_000
"""A file that still grows is sent again each time while it is smaller; a larger one waits until it is closed."""
SNAPSHOT: Final = ".run.db-copy"
"""A database in use is copied by SQLite first: its file alone would lack what is in the write-ahead log."""
SENT: Final = ".sent"
"""Mark of a run that is over and was sent whole."""
PASSED_OVER: Final = ("run.db", "run.db-wal", "run.db-shm", "run.new", "reserve", SNAPSHOT, SENT)


class Sender:
    """Sends one run directory to where it belongs, each time only what is new."""

    def __init__(self, remote: Remote, path: Path) -> None:
        self._remote = remote
        self._path = path
        self._name = path.relative_to(remote.mirror).as_posix()
        self._sent: dict[str, tuple[int, int]] = {}

    def send(self, *, final: bool) -> None:
        """Send what is new; files that still grow only while they are small, unless this is the final time."""
        present = {}
        growing = set() if final else _growing(self._path)
        for file in sorted(self._path.rglob("*"), key=lambda p: (p.suffix == ".arrow", p.as_posix())):
            name = file.relative_to(self._path).as_posix()
            if not file.is_file() or file.is_symlink() or name in PASSED_OVER or name.endswith(".part"):
                continue
            stat = file.stat()
            present[name] = (stat.st_size, stat.st_mtime_ns)
            waits = name in growing and stat.st_size > SMALL_BYTES
            if not waits and self._sent.get(name) != present[name]:
                self._remote.put(file, f"{self._name}/{name}")
                self._sent[name] = present[name]
        self._database()
        for name in [n for n in self._sent if n not in present]:
            self._remote.drop(f"{self._name}/{name}")
            del self._sent[name]
        if final:
            (self._path / SENT).touch()

    def _database(self) -> None:
        """Sent after the series: whoever sees it finds what it speaks of."""
        copy = self._path / SNAPSHOT
        with contextlib.closing(sqlite3.connect(copy)) as target:
            with contextlib.closing(sqlite3.connect(f"file:{self._path / 'run.db'}?mode=ro", uri=True)) as source:
                source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        self._remote.put(copy, f"{self._name}/run.db")
        copy.unlink(missing_ok=True)


class Upload:
    """The thread that sends a run while it is recorded. Nothing of it raises; one line tells if it failed in the end.

    Before that it sends what earlier runs of this machine left unsent: those that were killed, or had no network.
    """

    def __init__(self, remote: Remote, path: Path) -> None:
        self.path = path
        self.sender = Sender(remote, path)
        self.error: str | None = None
        self._remote = remote
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="aitia-upload", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send the rest, for at most so many seconds."""
        self._stop.set()
        self._thread.join(min(seconds, TELL_SECONDS))
        if self._thread.is_alive() and seconds > TELL_SECONDS:
            _say(f"aitia: sending the run to {self._remote.url} …")
            self._thread.join(seconds - TELL_SECONDS)
        if self._thread.is_alive() or self.error is not None:
            why = self.error or "it takes too long"
            _say(f"aitia: the run is not complete at {self._remote.url} ({why}); it is kept in {self.path}")

    def attempt(self, *, final: bool) -> None:
        """Send what is new, or remember why not."""
        try:
            self.sender.send(final=final)
            self.error = None
        except Exception as error:  # noqa: BLE001 - the network may fail as it likes, the training must not notice
            self.error = f"{type(error).__name__}: {error}"

    def _loop(self) -> None:
        with contextlib.suppress(Exception):
            self._send_left()
        while not self._stop.wait(EVERY_SECONDS):
            self.attempt(final=False)
        self.attempt(final=True)

    def _send_left(self) -> None:
        for path in list_runs(self._remote.mirror, fresh=False):
            if path == self.path or (path / FETCHED).exists() or (path / SENT).exists() or self._stop.is_set():
                continue
            if Run(path).info.status is not RunStatus.RUNNING:
                Sender(self._remote, path).send(final=True)


def _say(line: str) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{line}\n")


def _growing(run: Path) -> set[str]:
    """The segment of each table that may still grow, and the log."""
    last: dict[str, str] = {}
    for file in sorted((run / "series").glob("*.arrow")):
        last[file.name.rpartition("-")[0]] = f"series/{file.name}"
    return {"log.txt", *last.values()}
