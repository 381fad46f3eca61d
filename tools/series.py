"""Small numeric helpers over recorded series; NaN means not measured, so every reduction skips it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from aitia.engine.records import LayerInfo, ParameterInfo
from aitia.engine.store.reader import Array, Run, Steps
from aitia.tools.trust import safe_name

WINDOW: Final = 50
"""Rows at the end of a run that count as "now": enough for a median, few enough not to smear a change."""
TINY: Final = 1e-30
"""Below every norm float32 training produces; keeps ratios finite."""
MAX_NAMED: Final = 20
"""Names told in an error."""
Matrix = npt.NDArray[Any]
Named = TypeVar("Named", LayerInfo, ParameterInfo)


def median(values: npt.NDArray[Any]) -> float:
    """Median of the finite values; NaN when there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def ends(values: npt.NDArray[Any], window: int = WINDOW) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The first and the last `window` rows (each at most half of the series)."""
    size = max(1, min(window, len(values) // 2))
    return values[:size], values[-size:]


def column_medians(matrix: Matrix) -> Array:
    """Median of every column over its finite rows; NaN where a column has none."""
    return _columns(matrix, median)


def column_first(matrix: Matrix, rows: int = 5) -> Array:
    """Median of the first `rows` finite values of every column: a subject may be measured later than the run begins."""
    early = matrix[: 20 * rows]  # in a large run nearly every column has its first values here
    found = _columns(early, lambda c: median(c[np.isfinite(c)][:rows]))
    for i in np.flatnonzero(np.isfinite(early).sum(axis=0) < rows):
        found[i] = median(matrix[np.isfinite(matrix[:, i]), i][:rows])
    return found


def column_max(matrix: Matrix) -> Array:
    """Largest finite value of every column; NaN where a column has none."""
    return _columns(matrix, lambda c: float(c[np.isfinite(c)].max()) if np.isfinite(c).any() else float("nan"))


def column_min(matrix: Matrix) -> Array:
    """Smallest finite value of every column; NaN where a column has none."""
    return _columns(matrix, lambda c: float(c[np.isfinite(c)].min()) if np.isfinite(c).any() else float("nan"))


def column_sum(matrix: Matrix) -> Array:
    """Sum of every column; not-measured rows count as 0, a column without any measurement is NaN."""
    return _columns(matrix, lambda c: float(np.nansum(c)) if np.isfinite(c).any() else float("nan"))


def first_step(steps: Steps, hit: npt.NDArray[np.bool_]) -> int | None:
    """The first step at which `hit` holds."""
    where = np.flatnonzero(hit)
    return int(steps[where[0]]) if where.size else None


def slope(x: npt.NDArray[Any], y: npt.NDArray[Any], points: int = 60) -> float:
    """Theil-Sen slope of y over x (median of pairwise slopes, on at most `points` points): outliers do not move it."""
    keep = np.isfinite(y) & np.isfinite(x)
    x, y = x[keep].astype(np.float64), y[keep].astype(np.float64)
    if len(x) < 3:
        return float("nan")
    pick = np.unique(np.linspace(0, len(x) - 1, min(points, len(x))).astype(int))
    x, y = x[pick], y[pick]
    i, j = np.triu_indices(len(x), 1)
    run = x[j] - x[i]
    return float(np.median((y[j] - y[i])[run > 0] / run[run > 0])) if (run > 0).any() else float("nan")


def thin(steps: npt.NDArray[Any], values: npt.NDArray[Any], points: int) -> tuple[list[int], list[float | None]]:
    """At most `points` points of a series, evenly spaced, first and last kept; NaN becomes None."""
    if len(steps) == 0:
        return [], []
    pick = np.unique(np.linspace(0, len(steps) - 1, min(points, len(steps))).astype(int))
    shown = [float(f"{v:.5g}") if np.isfinite(v) else None for v in values[pick].astype(np.float64)]
    return [int(s) for s in steps[pick]], shown


def training_loss(run: Run) -> tuple[Steps, Array]:
    """Loss per step; where no optimizer ever stepped, the roots of backward."""
    steps, loss = run.scalar("loss")
    if len(loss):
        return steps, loss
    table = run.table("backward")
    return np.asarray(table["step"], dtype=np.int64), table["loss"]


def _columns(matrix: Matrix, reduce: Callable[[npt.NDArray[Any]], float]) -> Array:
    return np.array([reduce(matrix[:, i]) for i in range(matrix.shape[1])], dtype=np.float64)


def select(items: Sequence[Named], name: str | None, kind: str) -> list[Named]:
    """The items at or below the dotted path `name` (all when None).

    Raises:
        KeyError: none fits; the message names some that exist.
    """
    if name is None:
        return list(items)
    hits = [x for x in items if safe_name(x.name, x.index, kind) == name]
    hits = hits or [x for x in items if x.name.startswith(f"{name}.")]
    if not hits:
        known = ", ".join(safe_name(x.name, x.index, kind) for x in items[:MAX_NAMED])
        raise KeyError(f"no {kind} of that name; there are {known or 'none'}")
    return hits
