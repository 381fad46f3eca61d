"""The pen: takes rows from the training thread and puts them on disk from a thread of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aitia.engine.records import Record, RunInfo
from aitia.engine.store.database import keep_fact, keep_info, keep_subject, open_database, tell
from aitia.engine.store.segments import Segment

FLUSH_SECONDS = 0.4
"""At least twice a second, so that `kill -9` costs less than one second of the run."""
MAX_QUEUED = 100_000
"""Rows that wait for a slow disk; beyond it rows are counted and dropped, never blocking the training."""
WAKE_QUEUED = 5_000
"""Rows that are fetched before their time: a small model makes 20,000 of them in a second."""
MAX_QUEUED_BYTES = 128_000_000
"""The same in bytes of wide rows: those of a large model are a megabyte each."""
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses after a disk that was full or failed; the last one repeats. Someone may make room meanwhile."""
RESERVE_BYTES = 256 * 1024
"""Room that is held for the last words: a program that dies of a full disk must still be able to tell."""

ROWS = frozenset({"wide", "narrow"})
FILES = frozenset({"sample", "source"})


class DirectoryGoneError(OSError):
    """Someone removed the run's directory while it was being written; it is not made anew."""


class RunWriter:
    """Writes one run directory. Every public method is cheap and never raises into the training thread."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info
        self.dropped = 0
        """Rows that were lost to a slow, full or failing disk."""
        self.error: str | None = None
        """The last fault; while it lasts, facts wait and rows are dropped."""
        self._unkept: list[str] = []
        self._gone = False
        self._told = False
        self._queue: deque[tuple[str, Any]] = deque()
        self._bytes_in = self._bytes_out = 0  # each is changed by one thread only, so that no lock is needed
        self._wake = threading.Event()
        self._stop = False
        self._step = 0
        self._streams: dict[str, Segment] = {}
        self._reserve = path / "reserve"
        (path / "series").mkdir(parents=True, exist_ok=True)
        self._db = open_database(path, info)
        self._ids = itertools.count(int(self._db.execute("SELECT COALESCE(MAX(id), 0) FROM facts").fetchone()[0]) + 1)
        with contextlib.suppress(OSError):
            self._reserve.write_bytes(os.urandom(RESERVE_BYTES))
        self._thread = threading.Thread(target=self._loop, name="aitia-writer", daemon=True)
        self._thread.start()

    # ---- called from the training thread ---------------------------------------------------------------------

    def wide(self, table: str, step: int, values: npt.NDArray[np.float32]) -> None:
        """One row of a wide table; `values` is [statistics, subjects] in the schema's order and is not copied."""
        if self._bytes_in - self._bytes_out > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        self._bytes_in += values.nbytes
        self._put("wide", (table, step, values))

    def narrow(self, table: str, row: Mapping[str, float | int]) -> None:
        """One row of a narrow table; columns that are left out become NaN."""
        self._put("narrow", (table, row))

    def wide_rows(self, table: str, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Many rows of a wide table at once; `values` is [rows, statistics, subjects]."""
        if self._bytes_in - self._bytes_out > MAX_QUEUED_BYTES:
            self.dropped += len(steps)
            return
        self._bytes_in += values.nbytes
        self._put("wide", (table, steps, values))

    def narrow_rows(self, table: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Many rows of a narrow table at once, column by column."""
        self._put("narrow", (table, columns))

    def subject(self, kind: str, index: int, record: Record | Mapping[str, Any]) -> None:
        """Describe (or describe anew) one layer, parameter, optimizer, loss site."""
        self._put("subject", (kind, index, record))

    def fact(  # noqa: PLR0917 - the order of a facts row
        self,
        kind: str,
        step: int,
        seconds: float,
        subject: str = "",
        data: Mapping[str, Any] | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> int:
        """Keep a fact; returns its id."""
        number = next(self._ids)
        self._step = step
        self._put("fact", (number, step, seconds, kind, subject, dict(data or {}), file, line))
        return number

    def update(self, **changes: Any) -> None:
        """Change fields of the run's info."""
        self.info = self.info.model_copy(update=changes)
        self._put("info", self.info)

    def sample(self, name: str, array: npt.NDArray[Any]) -> None:
        """Keep a small raw array under samples/<name>.npy."""
        self._put("sample", (name, array))

    def source(self, name: str, text: bytes) -> None:
        """Keep a copy of one of the user's files under source/<name>."""
        self._put("source", (name, text))

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until everything that was queued is with the operating system (or the timeout passes)."""
        done = threading.Event()
        self._put("mark", done)
        self._wake.set()
        done.wait(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Flush and end the thread."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout)

    def _put(self, what: str, item: Any) -> None:
        waiting = len(self._queue)
        if self._gone or (what in ROWS and waiting >= MAX_QUEUED):
            if what == "mark":
                item.set()
            self.dropped += 1
            return
        self._queue.append((what, item))
        if waiting == WAKE_QUEUED:
            self._wake.set()

    # ---- the writer's own thread -----------------------------------------------------------------------------

    def _loop(self) -> None:
        pause, failed = FLUSH_SECONDS, 0
        while not self._gone:
            self._wake.wait(pause)
            self._wake.clear()
            stop = self._stop
            good = self._attempt(self._drain)
            if good:
                pause, failed, self.error = FLUSH_SECONDS, 0, None
            else:
                pause, failed = RETRY_SECONDS[min(failed, len(RETRY_SECONDS) - 1)], failed + 1
            if stop and (failed or not self._queue):
                self._finish()
                return
        for what, item in list(self._queue):  # nobody waits for a run that is gone
            if what == "mark":
                item.set()

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Do a part of the work; a full disk or a deleted folder must not reach the training."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever the disk answers
            self.error = f"{type(error).__name__}: {error}"
            self._gone = isinstance(error, DirectoryGoneError)
            for stream in self._streams.values():
                stream.abandon()  # half a batch may be in it: what comes later goes into a new segment
            self._streams.clear()
            self._tell()
            return False
        return True

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            outcome = "nothing more is recorded" if self._gone else "the recording will have gaps"
            with contextlib.suppress(Exception):
                sys.stderr.write(f"aitia: {outcome} ({self.error}). The training goes on.\n")

    def _drain(self) -> None:
        items = [self._queue.popleft() for _ in range(len(self._queue))]
        try:
            if not (self.path / "run.db").exists():
                raise DirectoryGoneError(f"{self.path} was removed")
            try:
                self._facts([item for item in items if item[0] not in ROWS])
            except Exception:
                self._queue.extendleft(item for item in reversed(items) if item[0] != "mark")
                raise
            self._rows([item for item in items if item[0] in ROWS])
        finally:
            for what, item in items:
                if what == "mark":
                    item.set()

    def _facts(self, items: list[tuple[str, Any]]) -> None:
        """Write everything that is no row, or nothing of it."""
        try:
            self._db.execute("BEGIN")
            for what, item in items:
                self._take(what, item)
            tell(self._db, "heartbeat", time.time())
            self._db.execute("COMMIT")
        except Exception:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _rows(self, items: list[tuple[str, Any]]) -> None:
        """Write rows, table by table; those that the disk did not take wait for the next time."""
        ordered = sorted(items, key=lambda item: str(item[1][0]))
        chunks = [list(same) for _, same in itertools.groupby(ordered, key=_kind)]
        for number, chunk in enumerate(chunks):
            try:
                stream = self._stream(*_kind(chunk[0]))
                for what, item in chunk:
                    if what == "wide":
                        stream.wide(*item[1:])
                    else:
                        stream.narrow(item[1])
                stream.flush()
            except OSError:
                left = [item for late in chunks[number:] for item in late]
                self._queue.extendleft(reversed(left))
                raise
            except Exception as error:  # noqa: BLE001 - what can never be written must not hold up the rest
                self.dropped += len(chunk)
                self._unkept.append(f"rows of {chunk[0][1][0]}: {type(error).__name__}: {error}")
                self._streams.pop(chunk[0][1][0]).abandon()
            self._bytes_out += sum(item[2].nbytes for what, item in chunk if what == "wide")

    def _take(self, what: str, item: Any) -> None:
        try:
            if what == "fact":
                keep_fact(self._db, item)
            elif what == "subject":
                keep_subject(self._db, *item)
            elif what == "info":
                keep_info(self._db, item)
            elif what in FILES:
                self._file(what, *item)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - what can never be written must not hold up all that comes after it
            self._unkept.append(f"{what} {item[0] if isinstance(item, tuple) else ''}: {type(error).__name__}: {error}")

    def _file(self, what: str, name: str, content: Any) -> None:
        if what == "sample":
            (self.path / "samples").mkdir(exist_ok=True)
            np.save(self.path / "samples" / f"{name}.npy", content, allow_pickle=False)
            return
        target = self.path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _confess(self, what: str, detail: str) -> None:
        self.fact("recorder", self._step, 0.0, "writer", {"what": what, "detail": detail})

    def _stream(self, table: str, width: int) -> Segment:
        stream = self._streams.get(table)
        if stream is not None and (stream.full or stream.width != width):
            del self._streams[table]
            stream.close()
            stream = None
        if stream is None:
            stream = self._streams[table] = Segment(self.path / "series", table, width)
        return stream

    def _finish(self) -> None:
        """The last words. If the disk is full they go where the reserve was, and rows do not compete with them."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        why = self.error or "the disk was too slow"
        if self._queue and not self._attempt(self._drain):
            rows = [item for item in self._queue if item[0] in ROWS]
            facts = [item for item in self._queue if item[0] not in ROWS]
            self.dropped += len(rows)
            self._queue = deque(facts)
        if self.dropped:
            self._confess("rows lost", f"{self.dropped} rows; {why}")
        if self._unkept:
            self._confess("not kept", "; ".join(self._unkept)[:2000])
        if self._queue:
            self._attempt(self._drain)
        for stream in list(self._streams.values()):
            self._attempt(stream.close)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._db.close()


def _kind(item: tuple[str, Any]) -> tuple[str, int]:
    """(table, width) of a row: what can stand in one segment."""
    what, row = item
    return str(row[0]), int(row[2].shape[-1]) if what == "wide" else 0


def new_run_id(root: Path, name: str, now: float | None = None) -> str:
    """A name that is new under `root`: `<time>-<name>`, with a number when two runs start in the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60].strip(".-") or "run"
    candidate, n = f"{stamp}-{stem}", 1
    while True:
        try:
            os.makedirs(root / candidate, exist_ok=False)
        except FileExistsError:
            n += 1
            candidate = f"{stamp}-{stem}-{n}"
        else:
            return candidate
