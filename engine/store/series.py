"""The series of a run as numpy arrays: read statistic by statistic, so that large runs fit."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aitia.engine.store.errors import RunUnreadable
from aitia.engine.store.schema import NARROW, WIDE
from aitia.engine.store.segments import batches, files_of

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]
Floats32 = npt.NDArray[np.float32]
KEPT_BYTES: Final = 256_000_000
"""Matrices of one table that stay in memory; a run of 1,000 layers and 10,000 steps has 1 GB of them."""
FEW: Final = 1
"""Series of one statistic that are read alone; who wants more of them wants all."""
ATTEMPTS: Final = 3
"""Tries to read a table: between listing and reading its files the run may end and be packed."""
T = TypeVar("T")


class Statistics(Mapping[str, Floats32]):
    """The statistics of a wide table by name, each [rows, subjects], read when asked for."""

    def __init__(self, folder: Path, table: str) -> None:
        self._folder = folder
        self._table = table
        self._kept: OrderedDict[str, Floats32] = OrderedDict()
        self._opened: dict[Path, Packed] = {}
        self._asked: Counter[str] = Counter()
        self.steps, self.width = _again(self._shape)

    def __iter__(self) -> Iterator[str]:
        return iter(WIDE[self._table])

    def __len__(self) -> int:
        return len(WIDE[self._table])

    def __getitem__(self, stat: str) -> Floats32:
        if stat not in WIDE[self._table]:
            raise KeyError(stat)
        if stat not in self._kept:
            self._kept[stat] = _compact(_again(lambda: self._read(stat, 0, self.width)).T)
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(stat)
        matrix: Floats32 = self._kept[stat]
        return matrix

    def column(self, stat: str, index: int) -> Floats32:
        """One subject's series; NaN where it was not measured."""
        if index >= self.width:
            return np.full(len(self.steps), np.nan, np.float32)
        self._asked[stat] += 1
        if stat in self._kept or self._asked[stat] > FEW:
            column: Floats32 = self[stat][:, index]
            return column
        alone: Floats32 = _again(lambda: self._read(stat, index, index + 1))[0]
        return alone

    def _packed(self, path: Path) -> Packed:
        if path not in self._opened:
            self._opened[path] = Packed(path)
        return self._opened[path]

    def _shape(self) -> tuple[Steps, int]:
        steps, width = [np.empty(0, np.int64)], 0
        for _, path in files_of(self._folder, self._table):
            if path.suffix == ".parquet":
                packed = self._packed(path)
                steps.append(packed.steps)
                width = max(width, packed.subjects)
            else:
                steps += [batch.column("step").to_numpy() for batch in batches(path, ["step"])]
                width = max(width, _width(path))
        return np.concatenate(steps), width

    def _read(self, stat: str, first: int, last: int) -> Floats32:
        """[subjects from first to last, rows]; rows that came after this view was made are left out."""
        total = len(self.steps)
        matrix, at = np.empty((last - first, total), np.float32), 0
        for _, path in files_of(self._folder, self._table):
            if path.suffix == ".parquet":
                packed = self._packed(path)
                packed.read(stat, first, matrix[:, at : at + packed.rows])
                at += packed.rows
                continue
            for batch in batches(path, [stat, "step"]):
                rows, known = min(batch.num_rows, total - at), 0
                if rows <= 0:
                    return matrix
                if stat in batch.schema.names:
                    flat = batch.column(stat).values.to_numpy(zero_copy_only=False)
                    part = flat.reshape(batch.num_rows, -1)[:rows, first:last]
                    known = part.shape[1]
                    matrix[:known, at : at + rows] = part.T
                matrix[known:, at : at + rows] = np.nan
                at += rows
        return matrix


class Packed:
    """A Parquet file of a wide table: columns subject, step and the statistics, ordered by subject and then by step."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet  # 30 ms that runs without such a file do not need

        self._path = path
        self._meta = parquet.read_metadata(path)
        told = self._meta.metadata or {}
        self.subjects = int(told[b"subjects"])
        self.steps: Steps = np.array(json.loads(told[b"steps"]), np.int64)
        self.rows = len(self.steps)
        self._group = self._meta.row_group(0).num_rows // self.rows if self._meta.num_row_groups else 1
        """Subjects in a row group."""

    def read(self, stat: str, first: int, into: Floats32) -> None:
        """Fill `into`, [subjects from `first` on, rows], from as few row groups as hold them; NaN elsewhere."""
        from pyarrow import parquet

        file = parquet.ParquetFile(self._path, metadata=self._meta, memory_map=True)
        known = stat in file.schema_arrow.names
        last = min(first + into.shape[0], self.subjects) if known else first
        into[max(0, last - first) :] = np.nan
        for group in range(first // self._group, -(-last // self._group)):
            flat = file.read_row_group(group, columns=[stat], use_threads=False).column(0).to_numpy()
            begin = group * self._group
            low, high = max(first, begin), min(last, begin + self._group)
            matrix = flat.reshape(-1, self.rows)[low - begin : high - begin, : into.shape[1]]
            into[low - first : high - first, : matrix.shape[1]] = matrix


def narrow(folder: Path, table: str) -> dict[str, Array]:
    """A narrow table as columns; integer columns are int64. Empty arrays where nothing was written."""
    return _again(lambda: _narrow(folder, table))


def _narrow(folder: Path, table: str) -> dict[str, Array]:
    parts: list[Any] = []
    for _, path in files_of(folder, table):
        if path.suffix == ".parquet":
            from pyarrow import parquet

            parts += parquet.read_table(path, memory_map=True, use_threads=False).to_batches()
        else:
            parts += batches(path)
    columns: dict[str, Array] = {}
    for column in NARROW[table]:
        found = [  # a run recorded before this column was known has no values in it
            b.column(column).to_numpy(zero_copy_only=False) if column in b.schema.names else np.full(b.num_rows, np.nan)
            for b in parts
        ]
        columns[column] = np.concatenate(found) if found else np.empty(0)
    return columns


def _compact(matrix: Floats32) -> Floats32:
    """The same values, without their memory where all are equal: counts of non-finite entries are 0 in a good run."""
    if matrix.size and (matrix == matrix[0, 0]).all():
        return np.broadcast_to(matrix[0, 0], matrix.shape)
    return matrix


def _bytes(matrix: Floats32) -> int:
    return matrix.nbytes if any(matrix.strides) else 0


def _width(path: Path) -> int:
    for batch in batches(path):
        return int(batch.schema.field(1).type.list_size)
    return 0


def _again(read: Callable[[], T]) -> T:
    """Read; once more when a file went away in between because the run was packed.

    Raises:
        RunUnreadable: a packed file is damaged. (A damaged segment just ends early: a kill does that.)
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            return read()
        except FileNotFoundError as error:
            if not left:
                raise RunUnreadable(f"{error.filename or 'a file'} went away while it was read.") from None
        except (pa.ArrowException, OSError, KeyError) as error:
            raise RunUnreadable(f"the series of this run are damaged: {str(error).splitlines()[0]}") from None
    raise AssertionError("unreachable")
