"""A lazy, read-only view of a run directory; works while the run is still being written, and needs no writer."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from aitia.engine.records import (
    Fact,
    LayerInfo,
    LossSite,
    OptimizerInfo,
    ParameterInfo,
    Record,
    RunInfo,
    RunStatus,
)
from aitia.engine.store.alive import alive
from aitia.engine.store.errors import RunNotFound, RunTooNew, RunUnreadable
from aitia.engine.store.remote import FETCHED, mirror_of, remote_of, url_of
from aitia.engine.store.schema import SCHEMA_VERSION
from aitia.engine.store.series import Array, Floats32, Statistics, Steps, narrow

__all__ = ["Array", "Floats32", "Run", "Steps", "Wide", "list_runs", "open_run", "runs_root"]

R = TypeVar("R", bound=Record)
LOG_TAIL_BYTES = 200_000
"""How much of a log is read at once; the end is what tells."""


@dataclass(frozen=True)
class Wide:
    """One wide table: `values[stat]` is [rows, subjects] float32, row i belongs to `steps[i]`."""

    steps: Steps
    values: Mapping[str, Floats32]

    def column(self, stat: str, index: int) -> Floats32:
        """One subject's series of one statistic, without reading the others'; NaN where it was not measured."""
        if isinstance(self.values, Statistics):
            return self.values.column(stat, index)
        matrix = self.values[stat]
        return matrix[:, index] if index < matrix.shape[1] else np.full(len(self.steps), np.nan, np.float32)


class Run:
    """One recorded run. Everything that is judged is a pure function of this."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RunNotFound(f"no run directory at {self.path}")
        if not (self.path / "run.db").is_file():
            raise RunUnreadable(f"{self.path} is not a run: it has no run.db. Record one with `aitia run train.py`.")
        version = self._meta.get("schema")
        if not isinstance(version, int):
            raise RunUnreadable(f"{self.path} is not a run: run.db holds no schema version.")
        if version > SCHEMA_VERSION:
            raise RunTooNew(
                f"{self.path.name} was written with schema {version}; this aitia reads up to {SCHEMA_VERSION}. "
                "Upgrade: pip install -U aitia"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def id(self) -> str:
        """Name of the run: the directory's."""
        return self.path.name

    # ---- circumstances -----------------------------------------------------------------------------------------

    @cached_property
    def info(self) -> RunInfo:
        """Identity and circumstances; a run whose process is gone without a word counts as killed."""
        raw = self._meta.get("info")
        if not isinstance(raw, dict):
            raise RunUnreadable(f"{self.path} holds no run info.")
        info = RunInfo.model_validate(raw)
        if info.status is RunStatus.RUNNING and not alive(
            info.pid, self._meta.get("host"), self._meta.get("heartbeat")
        ):
            info = info.model_copy(update={"status": RunStatus.KILLED, "ended": self._meta.get("heartbeat")})
        return info

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """All modules seen, in the column order of the `layer` table."""
        return tuple(self._subjects("layer", LayerInfo))

    @cached_property
    def parameters(self) -> tuple[ParameterInfo, ...]:
        """All parameters seen, in the column order of the `param` table."""
        return tuple(self._subjects("parameter", ParameterInfo))

    @cached_property
    def optimizers(self) -> tuple[OptimizerInfo, ...]:
        """All optimizers seen."""
        return tuple(self._subjects("optimizer", OptimizerInfo))

    @cached_property
    def losses(self) -> tuple[LossSite, ...]:
        """All places that call a loss function."""
        return tuple(self._subjects("loss", LossSite))

    def parameter(self, name: str) -> ParameterInfo | None:
        """The parameter of that name; of several that had it in turn, the one that came last."""
        return next((p for p in reversed(self.parameters) if p.name == name), None)

    def layer(self, name: str) -> LayerInfo | None:
        """The layer of that name."""
        return next((x for x in self.layers if x.name == name), None)

    def complete(self) -> None:
        """Fetch what is not here yet of a run that lives at a URL; nothing to do for all others."""
        if (self.path / FETCHED).is_file():
            remote = remote_of(self.path.parent)
            if remote is not None:
                remote.fetch(self.id)

    # ---- what happened -----------------------------------------------------------------------------------------

    def facts(self, kind: str | None = None, subject: str | None = None) -> list[Fact]:
        """Facts in the order they happened, of one kind or all."""
        found = self._facts if kind is None else self._facts_by_kind.get(kind, [])
        return [f for f in found if subject is None or f.subject == subject]

    def fact(self, kind: str, subject: str | None = None) -> Fact | None:
        """The first fact of that kind."""
        return next(iter(self.facts(kind, subject)), None)

    # ---- series ------------------------------------------------------------------------------------------------

    def table(self, name: str) -> dict[str, Array]:
        """A narrow table as columns; integer columns are int64. Empty arrays where nothing was written."""
        if name not in self._narrow_cache:
            self._narrow_cache[name] = narrow(self.path / "series", name)
        return self._narrow_cache[name]

    def scalar(self, column: str) -> tuple[Steps, Array]:
        """One column of the `step` table: (steps, values)."""
        table = self.table("step")
        return np.asarray(table["step"], dtype=np.int64), table[column]

    def wide(self, name: str) -> Wide:
        """A wide table: every statistic as [rows, subjects], NaN where a subject was not yet known or not measured."""
        if name not in self._wide_cache:
            values = Statistics(self.path / "series", name)
            self._wide_cache[name] = Wide(values.steps, values)
        return self._wide_cache[name]

    def of_parameter(self, name: str, stat: str) -> tuple[Steps, Array]:
        """One statistic of one parameter: (steps, values)."""
        info = self.parameter(name)
        if info is None:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(p.name for p in self.parameters[:20])}")
        return self._column("param", info.index, stat)

    def of_layer(self, name: str, stat: str) -> tuple[Steps, Array]:
        """One statistic of one layer: (steps, values)."""
        info = self.layer(name)
        if info is None:
            raise KeyError(f"no layer {name!r}; there are {', '.join(x.name for x in self.layers[:20])}")
        return self._column("layer", info.index, stat)

    @property
    def n_steps(self) -> int:
        """Optimizer steps that were recorded."""
        steps = self.table("step")["step"]
        return int(steps.max()) if len(steps) else 0

    # ---- texts and arrays --------------------------------------------------------------------------------------

    def log_tail(self, limit: int = LOG_TAIL_BYTES) -> str:
        """The end of what the program printed. Untrusted text."""
        path = self.path / "log.txt"
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read(limit).decode("utf-8", "replace")

    @cached_property
    def sources(self) -> dict[str, str]:
        """The user's files as they were: name relative to the working directory → text."""
        root = self.path / "source"
        files = sorted(p for p in root.rglob("*.py") if p.is_file() and not p.is_symlink()) if root.is_dir() else []
        return {p.relative_to(root).as_posix(): p.read_text("utf-8", "replace") for p in files}

    def sample(self, name: str) -> npt.NDArray[Any] | None:
        """A kept raw array, or None."""
        path = self.path / "samples" / f"{name}.npy"
        if not path.is_file() or path.is_symlink():
            return None
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        return array

    # ---- private -----------------------------------------------------------------------------------------------

    @cached_property
    def _narrow_cache(self) -> dict[str, dict[str, Array]]:
        return {}

    @cached_property
    def _wide_cache(self) -> dict[str, Wide]:
        return {}

    @cached_property
    def _meta(self) -> dict[str, Any]:
        try:
            return {key: json.loads(value) for key, value in self._query("SELECT key, value FROM meta")}
        except json.JSONDecodeError as error:
            raise RunUnreadable(f"{self.path / 'run.db'} cannot be read: {error}") from None

    @cached_property
    def _facts(self) -> list[Fact]:
        query = "SELECT id, step, time, kind, subject, data, file, line FROM facts ORDER BY id"
        return [
            Fact(id=i, step=s, time=t, kind=k, subject=u, data=json.loads(d), file=f, line=n)
            for i, s, t, k, u, d, f, n in self._query(query)
        ]

    @cached_property
    def _facts_by_kind(self) -> dict[str, list[Fact]]:
        found: dict[str, list[Fact]] = {}
        for fact in self._facts:
            found.setdefault(fact.kind, []).append(fact)
        return found

    def _subjects(self, kind: str, model: type[R]) -> Iterator[R]:
        for (data,) in self._query("SELECT data FROM subjects WHERE kind = ? ORDER BY idx", kind):
            yield model.model_validate_json(data)

    def _query(self, text: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as db:
            try:
                return db.execute(text, values).fetchall()
            except sqlite3.Error as error:
                raise RunUnreadable(f"{self.path / 'run.db'} cannot be read: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        path = (self.path / "run.db").resolve()
        try:
            db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)
            db.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.Error:
            # A read-only disk has no room for the shared-memory file of WAL; the main file is still readable.
            try:
                db = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, timeout=5.0)
                db.execute("SELECT 1 FROM sqlite_master").fetchall()
            except sqlite3.Error as error:
                raise RunUnreadable(f"{path} cannot be read: {error}") from None
        return db

    def _column(self, table: str, index: int, stat: str) -> tuple[Steps, Array]:
        wide = self.wide(table)
        return wide.steps, wide.column(stat, index).astype(np.float64)


def runs_root(given: str | os.PathLike[str] | None = None) -> Path:
    """Where runs live: the argument, else $AITIA_RUNS, else ./.aitia; for a URL its mirror on this machine."""
    place = given or os.environ.get("AITIA_RUNS") or ".aitia"
    url = url_of(place)
    return Path(place) if url is None else mirror_of(url)


def list_runs(root: Path, *, fresh: bool = True) -> list[Path]:
    """Directories under `root` that hold a run, newest first by name (names begin with the time).

    Of a URL's mirror the list is brought up to date first, unless `fresh` is False.
    """
    if not root.is_dir():
        return []
    remote = remote_of(root) if fresh else None
    if remote is not None:
        remote.refresh()
    found = (p for p in root.iterdir() if not p.name.startswith(".") and not p.is_symlink())
    return sorted((p for p in found if (p / "run.db").is_file()), reverse=True)


LATEST = "latest"
"""Stands for the run that began last, wherever a run is named."""


def open_run(name: str | None, root: Path) -> Run:
    """The run of that name or path, or the latest (None or "latest"); an unknown name is answered with those known."""
    run = _named(name, root)
    run.complete()
    return run


def _named(name: str | None, root: Path) -> Run:
    known = list_runs(root)
    if name is None or name == LATEST:
        if not known:
            raise RunNotFound(f"no runs under {root}. Record one with `aitia run train.py`.")
        return Run(known[0])
    if (root / name).is_dir() and "/" not in name and name not in {".", ".."}:
        return Run(root / name)
    if ("/" in name or name in {".", ".."}) and Path(name).is_dir():
        return Run(name)
    hits = [p for p in known if name in p.name]
    if len(hits) == 1:
        return Run(hits[0])
    names = ", ".join(p.name for p in (hits or known)[:8]) or "none"
    reason = "is ambiguous" if hits else "is not known"
    raise RunNotFound(f"run {name!r} {reason} under {root}. Runs there: {names}")
