"""run.db: what is kept of a run beside its series, in SQLite's WAL mode: others read while it is written."""

from __future__ import annotations

import json
import math
import socket
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aitia.engine.records import Record, RunInfo
from aitia.engine.store.schema import SCHEMA_VERSION

FactRow = tuple[int, int, float, str, str, dict[str, Any], str | None, int | None]

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


def open_database(folder: Path, info: RunInfo) -> sqlite3.Connection:
    """A connection to the run's database, which is made if there is none."""
    target = folder / "run.db"
    if not target.exists():  # made aside: who lists the runs now must not meet one without tables
        aside = target.with_suffix(".new")
        aside.unlink(missing_ok=True)
        _prepare(aside, info).close()
        aside.rename(target)
    return _prepare(target, info)


def _prepare(path: Path, info: RunInfo) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")  # survives kill -9; only a power cut could cost the last moments
    db.executescript(_TABLES)
    tell(db, "schema", SCHEMA_VERSION)
    tell(db, "host", socket.gethostname())
    keep_info(db, info)
    return db


def tell(db: sqlite3.Connection, key: str, value: Any) -> None:
    """Set one entry of `meta`."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def keep_info(db: sqlite3.Connection, info: RunInfo) -> None:
    """Set the run's info."""
    db.execute("INSERT OR REPLACE INTO meta VALUES ('info', ?)", (info.model_dump_json(),))


def keep_fact(
    db: sqlite3.Connection, fact: tuple[int, int, float, str, str, dict[str, Any], str | None, int | None]
) -> None:
    """Write one row of `facts`; the sixth entry is its data."""
    row = (*fact[:5], json.dumps(plain(fact[5])), *fact[6:])
    db.execute("INSERT OR REPLACE INTO facts VALUES (?,?,?,?,?,?,?,?)", row)


def keep_subject(db: sqlite3.Connection, kind: str, index: int, record: Record | Mapping[str, Any]) -> None:
    """Describe (or describe anew) one layer, parameter, optimizer, loss site."""
    data = record.model_dump(mode="json") if isinstance(record, Record) else dict(record)
    db.execute("INSERT OR REPLACE INTO subjects VALUES (?,?,?)", (kind, index, json.dumps(plain(data))))
