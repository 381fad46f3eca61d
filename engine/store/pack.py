"""Packing: the Arrow segments of a run that is over become Parquet, smaller and quick to read one series from.

Wide tables are turned: [subject, step] instead of [step, subject], so that the series of a subject lie together.
float32 columns are split by bytes before zstd (neighbouring steps share their high bytes), keys cost next to nothing. A
kill at any moment loses nothing: the file is written beside, renamed when whole, and only then its segments go.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aitia.engine.records import RunStatus
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run
from aitia.engine.store.schema import NARROW, WIDE
from aitia.engine.store.segments import batches, files_of, leftovers

PAYS_BYTES: Final = 4_000_000
"""A table smaller than this is read as quickly from its segments, and small on disk anyway."""
PART_BYTES: Final = 110_000_000
"""Segments (three of them) that become one Parquet file: half a second of work, which is lost when the time is over."""
GROUP_ROWS: Final = 65_536
"""Values of a statistic in a row group: a quarter of a megabyte, which one series costs to read."""
LEVEL: Final = 1
"""zstd level: 3 saves another 1 % and takes half as long again (`python -m aitia.evals.storage`)."""


class _TooLateError(Exception):
    """The time that packing may take is over."""


def pack(run: Path, seconds: float) -> bool:
    """Pack the tables of a run that is over, for at most so many seconds; True when nothing is left to pack."""
    deadline = time.monotonic() + seconds
    folder, whole = run / "series", True
    for stale in folder.glob("*.part"):
        stale.unlink(missing_ok=True)
    for table in (*NARROW, *WIDE):
        for done in leftovers(folder, table):
            done.unlink(missing_ok=True)
        growing = [path for _, path in files_of(folder, table) if path.suffix == ".arrow"]
        if sum(p.stat().st_size for p in growing) < PAYS_BYTES:
            continue
        for part in _parts(growing):
            try:
                _pack(folder, table, part, deadline)
            except _TooLateError:
                whole = False
                break
    return whole


def pack_ended(run: Path) -> None:
    """Pack a run that is over, however long it takes.

    Raises:
        AitiaError: it is still being written.
    """
    if Run(run).info.status is RunStatus.RUNNING:
        raise AitiaError(f"{run.name} is still running; a run is packed when it is over.")
    pack(run, math.inf)


def _parts(growing: list[Path]) -> Iterator[list[Path]]:
    part: list[Path] = []
    size = 0
    for path in growing:
        if part and size + path.stat().st_size > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(path)
        size += path.stat().st_size
    yield part


def _pack(folder: Path, table: str, segments: list[Path], deadline: float) -> None:
    target = segments[-1].with_suffix(".parquet")
    beside = target.with_suffix(".parquet.part")
    try:
        rows = (_wide if table in WIDE else _narrow)(table, segments, beside, deadline)
        from pyarrow import parquet

        if parquet.read_metadata(beside).num_rows != rows:
            raise OSError(f"{beside} holds other rows than were written")
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    for path in segments:
        path.unlink(missing_ok=True)


def _narrow(table: str, segments: list[Path], beside: Path, deadline: float) -> int:
    from pyarrow import parquet

    _check(deadline)
    found = pa.Table.from_batches([b for path in segments for b in batches(path)])
    parquet.write_table(found, beside, compression="zstd", compression_level=LEVEL)
    return int(found.num_rows)


def _wide(table: str, segments: list[Path], beside: Path, deadline: float) -> int:
    from pyarrow import parquet

    found = [b for path in segments for b in batches(path)]
    steps = np.concatenate([b.column("step").to_numpy() for b in found])
    views = {stat: [_view(b, stat) for b in found] for stat in WIDE[table]}
    subjects = max(b.schema.field(1).type.list_size for b in found)
    group = max(1, GROUP_ROWS // len(steps))
    schema = pa.schema(
        [("subject", pa.int32()), ("step", pa.int64()), *((stat, pa.float32()) for stat in views)],
        {"subjects": str(subjects), "steps": json.dumps(steps.tolist())},
    )
    encoding = {"step": "DELTA_BINARY_PACKED", **dict.fromkeys(views, "BYTE_STREAM_SPLIT")}
    with parquet.ParquetWriter(
        beside,
        schema,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=["subject"],
        column_encoding=encoding,
        write_statistics=["subject", "step"],
    ) as writer:
        for first in range(0, subjects, group):
            _check(deadline)
            n = min(group, subjects - first)
            columns = [np.repeat(np.arange(first, first + n, dtype=np.int32), len(steps)), np.tile(steps, n)]
            columns += [_turned(parts, first, n, len(steps)).ravel() for parts in views.values()]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=n * len(steps))
    return int(subjects * len(steps))


def _view(batch: Any, stat: str) -> npt.NDArray[np.float32]:
    flat: npt.NDArray[np.float32] = batch.column(stat).values.to_numpy(zero_copy_only=False)
    return flat.reshape(batch.num_rows, -1)


def _turned(parts: list[npt.NDArray[np.float32]], first: int, n: int, rows: int) -> npt.NDArray[np.float32]:
    """[subjects, rows] of n subjects; NaN where a subject was not yet known."""
    matrix, at = np.full((n, rows), np.nan, np.float32), 0
    for part in parts:
        cut = part[:, first : first + n]
        matrix[: cut.shape[1], at : at + len(part)] = cut.T
        at += len(part)
    return matrix


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _TooLateError
