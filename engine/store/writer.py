"""The pen: takes rows from the training thread and puts them on disk from a thread of its own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aitia.engine.records import Record, RunInfo
from aitia.engine.store.schema import INTEGER_COLUMNS, NARROW, SCHEMA_VERSION, WIDE

FLUSH_SECONDS = 0.4
"""At least twice a second, so that `kill -9` costs less than one second of the run."""
MAX_QUEUED = 200_000
"""Rows that wait for a slow disk; beyond it rows are counted and dropped, never blocking the training."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subjects (kind TEXT NOT NULL, idx INTEGER NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (kind, idx));
CREATE TABLE IF NOT EXISTS facts (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
  subject TEXT NOT NULL, data TEXT NOT NULL, file TEXT, line INTEGER);
CREATE INDEX IF NOT EXISTS facts_kind ON facts (kind, step);
CREATE TABLE IF NOT EXISTS commands (id INTEGER PRIMARY KEY, time REAL NOT NULL, op TEXT NOT NULL, args TEXT NOT NULL,
  answer TEXT);
"""


def plain(value: Any) -> Any:
    """JSON without NaN: non-finite numbers become "nan", "inf", "-inf"; unknown objects their type's name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return type(value).__name__


class RunWriter:
    """Writes one run directory. Every public method is cheap and never raises into the training thread."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info
        self.dropped = 0
        self.error: str | None = None
        self._queue: deque[tuple[str, Any]] = deque()
        self._wake = threading.Event()
        self._stop = False
        self._fact_id = 0
        self._streams: dict[str, _Stream] = {}
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        (path / "series").mkdir(parents=True, exist_ok=True)
        self._open_db()
        self._thread = threading.Thread(target=self._loop, name="aitia-writer", daemon=True)
        self._thread.start()

    # ---- called from the training thread ---------------------------------------------------------------------

    def wide(self, table: str, step: int, values: npt.NDArray[np.float32]) -> None:
        """One row of a wide table; `values` is [statistics, subjects] in the schema's order and is not copied."""
        self._put("wide", (table, step, values))

    def narrow(self, table: str, row: Mapping[str, float | int]) -> None:
        """One row of a narrow table; columns that are left out become NaN."""
        self._put("narrow", (table, row))

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
        self._fact_id += 1
        fact = (self._fact_id, step, seconds, kind, subject, dict(data or {}), file, line)
        self._put("fact", fact)
        return self._fact_id

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
        if len(self._queue) >= MAX_QUEUED or self.error is not None:
            if what == "mark":
                item.set()
            self.dropped += 1
            return
        self._queue.append((what, item))

    # ---- the writer's own thread -----------------------------------------------------------------------------

    def _open_db(self) -> None:
        db = sqlite3.connect(self.path / "run.db", check_same_thread=False, isolation_level=None, timeout=5.0)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")  # survives kill -9; only a power cut could cost the last moments
        db.executescript(_TABLES)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (json.dumps(SCHEMA_VERSION),))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('host', ?)", (json.dumps(socket.gethostname()),))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('info', ?)", (self.info.model_dump_json(),))
        self._fact_id = int(db.execute("SELECT COALESCE(MAX(id), 0) FROM facts").fetchone()[0])
        self._db = db

    def _loop(self) -> None:
        while True:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            stop = self._stop
            try:
                self._drain()
            except Exception as error:  # noqa: BLE001 - a full disk or a deleted folder must not reach the training
                self.error = f"{type(error).__name__}: {error}"
                self._release_marks()
                return
            if stop and not self._queue:
                with contextlib.suppress(Exception):
                    self._finish()
                return

    def _drain(self) -> None:
        items = [self._queue.popleft() for _ in range(len(self._queue))]
        marks: list[threading.Event] = []
        db = self._db
        if db is None:
            return
        db.execute("BEGIN")
        try:
            for what, item in items:
                if what == "mark":
                    marks.append(item)
                else:
                    self._take(db, what, item)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('heartbeat', ?)", (json.dumps(time.time()),))
        finally:
            db.execute("COMMIT")
            for stream in self._streams.values():
                stream.flush()
            for mark in marks:
                mark.set()

    def _take(self, db: sqlite3.Connection, what: str, item: Any) -> None:
        if what in {"wide", "narrow"}:
            self._row(what, item)
        elif what == "fact":
            number, step, seconds, kind, subject, data, file, line = item
            text = json.dumps(plain(data))
            db.execute(
                "INSERT OR REPLACE INTO facts VALUES (?,?,?,?,?,?,?,?)",
                (number, step, seconds, kind, subject, text, file, line),
            )
        elif what == "subject":
            kind, index, record = item
            data = record.model_dump(mode="json") if isinstance(record, Record) else dict(record)
            db.execute("INSERT OR REPLACE INTO subjects VALUES (?,?,?)", (kind, index, json.dumps(plain(data))))
        elif what == "info":
            db.execute("INSERT OR REPLACE INTO meta VALUES ('info', ?)", (item.model_dump_json(),))
        elif what == "sample":
            (self.path / "samples").mkdir(exist_ok=True)
            np.save(self.path / "samples" / f"{item[0]}.npy", item[1], allow_pickle=False)
        elif what == "source":
            target = self.path / "source" / item[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(item[1])

    def _row(self, what: str, item: Any) -> None:
        if what == "wide":
            table, step, values = item
            width = int(values.shape[1])
            stream = self._streams.get(table)
            if stream is None or stream.width != width:
                if stream is not None:
                    stream.close()
                stream = self._streams[table] = _Stream(self.path / "series", table, width)
            stream.wide(step, values)
        else:
            table, row = item
            stream = self._streams.get(table)
            if stream is None:
                stream = self._streams[table] = _Stream(self.path / "series", table, 0)
            stream.narrow(row)

    def _release_marks(self) -> None:
        for what, item in list(self._queue):
            if what == "mark":
                item.set()

    def _finish(self) -> None:
        for stream in self._streams.values():
            stream.close()
        if self._db is not None:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            self._db = None


class _Stream:
    """One growing Arrow IPC stream of one table; a new width starts a new segment."""

    def __init__(self, folder: Path, table: str, width: int) -> None:
        self.width = width
        self._names = tuple(WIDE[table]) if width else tuple(NARROW[table])
        self._steps: list[int] = []
        self._values: list[npt.NDArray[np.float32]] = []
        self._rows: list[Mapping[str, float | int]] = []
        if width:
            fields = [pa.field("step", pa.int64())]
            fields += [pa.field(name, pa.list_(pa.float32(), width)) for name in self._names]
        else:
            fields = [pa.field(n, pa.int64() if n in INTEGER_COLUMNS else pa.float64()) for n in self._names]
        self._schema = pa.schema(fields)
        number = len(list(folder.glob(f"{table}-*.arrow")))
        self._file = open(folder / f"{table}-{number:04d}.arrow", "wb", buffering=0)  # noqa: SIM115 - lives with the run
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def wide(self, step: int, values: npt.NDArray[np.float32]) -> None:
        self._steps.append(step)
        self._values.append(values)

    def narrow(self, row: Mapping[str, float | int]) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        if self._steps:
            block = np.stack(self._values)  # [rows, statistics, subjects]
            columns = [pa.array(self._steps, pa.int64())]
            for index in range(len(self._names)):
                flat = pa.array(np.ascontiguousarray(block[:, index, :], dtype=np.float32).ravel())
                columns.append(pa.FixedSizeListArray.from_arrays(flat, self.width))
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
            self._steps.clear()
            self._values.clear()
        if self._rows:
            columns = [self._column(name) for name in self._names]
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
            self._rows.clear()

    def _column(self, name: str) -> Any:
        if name in INTEGER_COLUMNS:
            return pa.array([int(row.get(name, -1)) for row in self._rows], pa.int64())
        return pa.array([float(row.get(name, math.nan)) for row in self._rows], pa.float64())

    def close(self) -> None:
        self.flush()
        self._writer.close()
        self._file.close()


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
