"""The sender of a recorder whose runs live at a URL: what is complete goes during the training, the rest at its end."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Final

from aitia.engine.store.remote import Remote

EVERY_SECONDS: Final = 5.0
"""How often it looks for what is new."""
SMALL_BYTES: Final = 2_000_000
"""A file that still grows is sent again each time while it is smaller; a larger segment waits until it is closed."""
SNAPSHOT: Final = ".run.db-copy"
"""A database in use is copied by SQLite first: its file alone would lack what is in the write-ahead log."""
PASSED_OVER: Final = ("run.db-wal", "run.db-shm", "run.new", "reserve", SNAPSHOT)


class Upload:
    """Sends one run directory to where it belongs. Nothing of it raises; one line tells the first fault."""

    def __init__(self, remote: Remote, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        self._remote = remote
        self._name = path.relative_to(remote.mirror).as_posix()
        self._sent: dict[str, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="aitia-upload", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send the rest, for at most so many seconds."""
        self._stop.set()
        self._thread.join(seconds)
        if self._thread.is_alive() or self.error is not None:
            self._tell(self.error or "it takes too long")

    def _loop(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._attempt(final=False)
        self._attempt(final=True)

    def _attempt(self, *, final: bool) -> None:
        try:
            self._send(final=final)
            self.error = None
        except Exception as error:  # noqa: BLE001 - the network may fail as it likes, the training must not notice
            self.error = f"{type(error).__name__}: {error}"

    def _send(self, *, final: bool) -> None:
        present = {}
        growing = set() if final else _last_segments(self.path / "series")
        for file in sorted(self.path.rglob("*"), key=lambda p: (p.suffix == ".arrow", p.as_posix())):
            name = file.relative_to(self.path).as_posix()
            if not file.is_file() or file.is_symlink() or name in PASSED_OVER or name.endswith(".part"):
                continue
            stat = file.stat()
            present[name] = (stat.st_size, stat.st_mtime_ns)
            waits = name in growing and stat.st_size > SMALL_BYTES
            if name != "run.db" and not waits and self._sent.get(name) != present[name]:
                self._remote.put(file, f"{self._name}/{name}")
                self._sent[name] = present[name]
        self._database()
        for name in [n for n in self._sent if n not in present]:
            self._remote.drop(f"{self._name}/{name}")
            del self._sent[name]

    def _database(self) -> None:
        """Sent last: whoever sees it finds the series that it speaks of."""
        copy = self.path / SNAPSHOT
        with contextlib.closing(sqlite3.connect(copy)) as target:
            with contextlib.closing(sqlite3.connect(f"file:{self.path / 'run.db'}?mode=ro", uri=True)) as source:
                source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        self._remote.put(copy, f"{self._name}/run.db")
        copy.unlink(missing_ok=True)

    def _tell(self, why: str) -> None:
        with contextlib.suppress(Exception):
            where = f"at {self._remote.url} ({why}); it is kept in {self.path}"
            sys.stderr.write(f"aitia: the run is not complete {where}\n")


def _last_segments(series: Path) -> set[str]:
    """The segment of each table that may still grow."""
    last: dict[str, str] = {}
    for file in sorted(series.glob("*.arrow")):
        last[file.name.rpartition("-")[0]] = f"series/{file.name}"
    return set(last.values())
