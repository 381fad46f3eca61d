"""Segments: the files of one table, in the order they were written.

```
series/<table>-<n>.arrow     rows as they came: an Arrow IPC stream that grows while the run does
series/<table>-<n>.parquet   the rows of all segments up to n (that no earlier Parquet file holds), packed after the end
```
An Arrow file whose number a Parquet file covers is a leftover of an interrupted packing and is not read.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aitia.engine.store.schema import INTEGER_COLUMNS, NARROW, WIDE

SEGMENT_BYTES: Final = 32_000_000
"""A segment that is larger is closed and the next one begun: closed ones can be packed or sent away."""
SEGMENT_BATCHES: Final = 1000
"""The same for one of many batches. A batch has 3 kB of its own, and a slow program writes one for each step."""
MANY_BATCHES: Final = 16
"""A segment of more than these is written anew as one batch when it is closed."""


def files_of(folder: Path, table: str) -> list[tuple[int, Path]]:
    """(number, file) of what holds a table's rows, in order."""
    packed, growing = _numbered(folder, table, ".parquet"), _numbered(folder, table, ".arrow")
    covered = max(packed, default=-1)
    return sorted([*packed.items(), *((n, p) for n, p in growing.items() if n > covered)])


def leftovers(folder: Path, table: str) -> list[Path]:
    """Arrow files whose rows a Parquet file holds."""
    covered = max(_numbered(folder, table, ".parquet"), default=-1)
    return [p for n, p in _numbered(folder, table, ".arrow").items() if n <= covered]


def _numbered(folder: Path, table: str, suffix: str) -> dict[int, Path]:
    found = {}
    for path in folder.glob(f"{table}-*{suffix}"):
        with contextlib.suppress(ValueError):
            found[int(path.name[len(table) + 1 : -len(suffix)])] = path
    return found


def batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """All whole batches of a stream that may still be growing or was cut by a kill; only some columns when named."""
    try:
        with pa.memory_map(str(path)) as source:
            options = pa.ipc.IpcReadOptions()
            if columns is not None:
                with pa.ipc.open_stream(source) as stream:
                    names = stream.schema.names
                options = pa.ipc.IpcReadOptions(included_fields=[names.index(c) for c in columns if c in names])
                source.seek(0)
            with pa.ipc.open_stream(source, options=options) as stream:
                yield from _whole(stream)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError):
        return  # a segment without a complete header yet


def _whole(stream: Any) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            yield stream.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return


class Segment:
    """One growing Arrow IPC stream of one table; `width` is the number of subjects of a wide table, 0 of a narrow."""

    def __init__(self, folder: Path, table: str, width: int) -> None:
        self.width = width
        self._names = tuple(WIDE[table]) if width else tuple(NARROW[table])
        self._steps: list[npt.NDArray[np.int64]] = []
        self._values: list[npt.NDArray[np.float32]] = []
        self._rows: list[Mapping[str, float | int]] = []
        if width:
            fields = [pa.field("step", pa.int64())]
            fields += [pa.field(name, pa.list_(pa.float32(), width)) for name in self._names]
        else:
            fields = [pa.field(n, pa.int64() if n in INTEGER_COLUMNS else pa.float64()) for n in self._names]
        self._schema = pa.schema(fields)
        self._batches = 0
        numbers = [*_numbered(folder, table, ".arrow"), *_numbered(folder, table, ".parquet")]
        self.path = folder / f"{table}-{max(numbers, default=-1) + 1:04d}.arrow"
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115 - lives with the run
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    @property
    def full(self) -> bool:
        """Whether it is time for the next segment."""
        return self._batches >= SEGMENT_BATCHES or self._file.tell() >= SEGMENT_BYTES

    def wide(self, step: int | npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Take one row of a wide table; `values` is [statistics, subjects]. With an array of steps, one for each."""
        one = isinstance(step, int)
        self._steps.append(np.array([step], np.int64) if one else step)  # type: ignore[arg-type]  # an array where not one
        self._values.append(values[None] if one else values)

    def narrow(self, row: Mapping[str, Any]) -> None:
        """Take one row of a narrow table; arrays instead of numbers are many rows."""
        self._rows.append(row)

    def flush(self) -> None:
        """Write what was taken as one batch."""
        if self._steps:
            block = np.concatenate(self._values)  # [rows, statistics, subjects]
            columns = [pa.array(np.concatenate(self._steps))]
            for index in range(len(self._names)):
                flat = pa.array(np.ascontiguousarray(block[:, index, :], dtype=np.float32).ravel())
                columns.append(pa.FixedSizeListArray.from_arrays(flat, self.width))
            self._write(pa.record_batch(columns, schema=self._schema))
            self._steps.clear()
            self._values.clear()
        if self._rows:
            parts: list[Mapping[str, Any]] = []
            for many, group in itertools.groupby(self._rows, key=_many):
                rows = list(group)
                parts += rows if many else [self._joined(rows)]
            whole = [self._whole(part) for part in parts]
            columns = [pa.array(np.concatenate([part[name] for part in whole])) for name in self._names]
            self._write(pa.record_batch(columns, schema=self._schema))
            self._rows.clear()

    def _write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._batches += 1

    def _joined(self, rows: list[Mapping[str, float | int]]) -> dict[str, npt.NDArray[Any]]:
        """Single rows as columns."""
        return {
            name: np.array([row.get(name, -1) for row in rows], np.int64)
            if name in INTEGER_COLUMNS
            else np.array([row.get(name, math.nan) for row in rows], np.float64)
            for name in self._names
        }

    def _whole(self, part: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """All columns of many rows, those too that were left out."""
        n = len(next(iter(part.values())))
        kinds = {name: (np.int64, -1) if name in INTEGER_COLUMNS else (np.float64, math.nan) for name in self._names}
        return {
            name: part[name].astype(kind) if name in part else np.full(n, left_out, kind)
            for name, (kind, left_out) in kinds.items()
        }

    def close(self) -> None:
        """Flush and end the stream; many small batches become one."""
        self.flush()
        self._writer.close()
        self._file.close()
        if self._batches > MANY_BATCHES:
            with contextlib.suppress(OSError, pa.ArrowException):  # no room for a second copy: it stays as it is
                self._unite()

    def _unite(self) -> None:
        beside = self.path.with_name(f"{self.path.name}.part")
        whole = pa.Table.from_batches(batches(self.path), self._schema).combine_chunks()
        try:
            with beside.open("wb", buffering=0) as file, pa.ipc.new_stream(file, self._schema) as stream:
                stream.write_table(whole)
            beside.replace(self.path)  # who reads the old one now keeps it
        finally:
            beside.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Let go of a file that could not be written to; its whole batches stay readable."""
        with contextlib.suppress(Exception):
            self._file.close()


def _many(row: Mapping[str, Any]) -> bool:
    return isinstance(next(iter(row.values()), None), np.ndarray)
