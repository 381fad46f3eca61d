"""Series over steps and the robust numbers that are read off them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from aitia.engine.store.reader import Array, Floats32

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A series over steps with robust ends: the median of its first and last tenth (at least three values)."""

    steps: npt.NDArray[np.int64]
    values: Floats

    @property
    def n(self) -> int:
        """Number of finite values."""
        return int(np.isfinite(self.values).sum())

    @cached_property
    def _finite(self) -> Floats:
        return self.values[np.isfinite(self.values)]

    @property
    def _edge(self) -> int:
        return max(3, self.n // 10)

    @property
    def first(self) -> float:
        """Median of the first tenth."""
        return float(np.median(self._finite[: self._edge])) if self.n else math.nan

    @property
    def start(self) -> float:
        """The very first value: what an untrained model gives."""
        return float(self._finite[0]) if self.n else math.nan

    @property
    def last(self) -> float:
        """Median of the last tenth."""
        return float(np.median(self._finite[-self._edge :])) if self.n else math.nan

    @property
    def lowest(self) -> float:
        """Smallest running median of a tenth."""
        return float(min((np.median(c) for c in self._chunks), default=math.nan))

    @property
    def highest(self) -> float:
        """Largest running median of a tenth."""
        return float(max((np.median(c) for c in self._chunks), default=math.nan))

    @property
    def _chunks(self) -> list[Floats]:
        return [c for c in np.array_split(self._finite, max(1, min(10, self.n // 3))) if len(c)]

    @cached_property
    def spread(self) -> float:
        """Robust step-to-step noise: median absolute difference of neighbours."""
        return float(np.median(np.abs(np.diff(self._finite)))) if self.n > 1 else 0.0

    @property
    def fall(self) -> float:
        """Share of the first value that was lost by the end: 0.9 = fell by 90 %, negative = rose."""
        scale = max(abs(self.first), 1e-12)
        return (self.first - self.last) / scale if self.n else 0.0

    @property
    def first_nonfinite(self) -> int | None:
        """Step of the first NaN or Inf."""
        bad = np.flatnonzero(~np.isfinite(self.values))
        return int(self.steps[bad[0]]) if len(bad) else None


def phase_means(rows: dict[str, Array], column: str) -> Curve:
    """One value per evaluation phase: calls that belong to the same training step, weighted by their samples."""
    steps = rows["step"].astype(np.int64)
    ok = np.isfinite(rows[column])
    weights = np.where(np.isfinite(rows["n"]) & (rows["n"] > 0), rows["n"], 1.0)
    unique, group = np.unique(steps[ok], return_inverse=True)
    total = np.bincount(group, weights=weights[ok], minlength=len(unique))
    means = np.bincount(group, weights=weights[ok] * rows[column][ok], minlength=len(unique)) / np.maximum(total, 1e-12)
    return Curve(unique, means)


def nanmedian(values: Iterable[float] | Floats | Floats32) -> float:
    """Median of the finite values; NaN when there is none."""
    array = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else np.float64)
    array = array[np.isfinite(array)]  # a copy, so the median may reorder it
    return float(np.median(array, overwrite_input=True)) if len(array) else math.nan


def nanmax(values: Iterable[float] | Floats) -> float:
    """Largest finite value; NaN when there is none."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    return float(array.max()) if len(array) else math.nan


def listing(names: Iterable[str], limit: int = 4) -> str:
    """A few names as words: `a, b, c and 5 more`."""
    found = list(names)
    if len(found) <= limit:
        return ", ".join(found)
    return f"{', '.join(found[:limit])} and {len(found) - limit} more"
