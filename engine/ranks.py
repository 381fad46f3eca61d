"""The ranks of one distributed run, read together: each recorded itself alone, and here they are compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aitia.engine.records import RunStatus
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run, list_runs

FOLDER: Final = "ranks"
"""Where a recorder puts the runs of ranks 1, 2 …, beneath the root of runs."""
TOGETHER_S: Final = 600.0
"""Ranks of one program begin within this time; the same parent may start another program later."""
EQUAL: Final = 1e-6
"""Relative difference of two float32 norms of the same numbers: the collective gives every rank the same bits."""
MAX_LOOKED: Final = 256
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """How one statistic of every parameter compares between two ranks."""

    steps: npt.NDArray[np.int64]
    names: tuple[str, ...]
    differ: Bools
    """[steps, parameters]"""
    gap: npt.NDArray[np.float64]
    """[steps, parameters] relative difference."""

    @property
    def at(self) -> Bools:
        """Steps at which anything differs."""
        return np.asarray(self.differ.any(axis=1))

    @property
    def first(self) -> int | None:
        """First step at which anything differs."""
        return int(self.steps[int(np.argmax(self.at))]) if self.at.any() else None


class Ranks:
    """A run and its siblings, rank 0 first."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(sorted(runs, key=lambda r: r.info.rank))

    @cached_property
    def complete(self) -> bool:
        """Whether all ranks of the group are recorded, and none of them is still writing."""
        statuses = {r.info.status for r in self.runs}
        return len(self.runs) == self.runs[0].info.world_size and RunStatus.RUNNING not in statuses

    @cached_property
    def alike(self) -> bool:
        """Whether all ranks train models with the same parameters."""
        shapes = [[(p.name, p.shape) for p in r.parameters if p.in_model] for r in self.runs]
        return bool(shapes[0]) and all(s == shapes[0] for s in shapes)

    def use(self, key: str) -> list[Any]:
        """One entry of every rank's `ddp_use` fact, None where a rank has none."""
        facts = [r.fact("ddp_use") for r in self.runs]
        return [f.data.get(key) if f is not None else None for f in facts]

    def difference(self, stat: str) -> Difference | None:
        """Compare rank 0 with the rank that differs most, at the steps that both measured.

        None where steps of the same number are not the same step: ranks with uneven inputs go on alone.
        """
        if any(self.use("joined")):
            return None
        found = [d for other in self.runs[1:] if (d := _compare(self.runs[0], other, stat)) is not None]
        return max(found, key=lambda d: int(d.differ.sum()), default=None)

    @cached_property
    def same_batches(self) -> tuple[float, int]:
        """Share of training batches that rank 0 and another rank had in common at the same place, and how many."""
        rows = [_hashes(r) for r in self.runs]
        n = min(len(h) for h in rows)
        if n == 0:
            return 0.0, 0
        return float(min(np.mean(rows[0][:n] == h[:n]) for h in rows[1:])), n

    @cached_property
    def n_forward(self) -> list[int]:
        """Training forwards of every rank; a backward that waits in vain is never over, its forward is."""
        return [len(_hashes(r)) for r in self.runs]


def ranks(run: Run) -> Ranks | None:
    """All recorded ranks of the run's group; None for a single process and where no sibling is there."""
    info = run.info
    if info.world_size < 2 or info.group is None:
        return None
    home = run.path.parent.parent if run.path.parent.name == FOLDER else run.path.parent
    others = [p for folder in (home / FOLDER, home) for p in list_runs(folder) if p.name != run.path.name]
    siblings = {info.rank: run}
    for path in [p for p in others if _near(p, info.created)][:MAX_LOOKED]:
        with suppress(AitiaError, ValueError, OSError):  # a run that cannot be read is nobody's sibling
            other = Run(path)
            if other.info.group == info.group and abs(other.info.created - info.created) < TOGETHER_S:
                siblings.setdefault(other.info.rank, other)
    return Ranks(list(siblings.values())) if len(siblings) > 1 else None


def _near(path: Path, created: float) -> bool:
    """Whether a run's name begins with a time near that one; spares opening thousands of runs."""
    try:
        stamp = time.mktime(time.strptime(path.name[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return True
    return abs(stamp - created) < TOGETHER_S


def _compare(one: Run, other: Run, stat: str) -> Difference | None:
    a, b = one.wide("param"), other.wide("param")
    names = [p.name for p in one.parameters if p.in_model]
    index = {p.name: p.index for p in other.parameters}
    pairs = [(p.index, index[p.name]) for p in one.parameters if p.in_model and p.name in index]
    steps, i, j = np.intersect1d(a.steps, b.steps, return_indices=True)
    width = min(a.values[stat].shape[1], b.values[stat].shape[1])
    pairs = [(x, y) for x, y in pairs if x < width and y < width]
    if not len(steps) or not pairs:
        return None
    x = a.values[stat][i][:, [p for p, _ in pairs]].astype(np.float64)
    y = b.values[stat][j][:, [q for _, q in pairs]].astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    rows = known.any(axis=1)
    with np.errstate(all="ignore"):
        gap = np.where(known, np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), 1e-30), 0.0)
    return Difference(steps[rows], tuple(names[: len(pairs)]), (gap > EQUAL)[rows], gap[rows]) if rows.any() else None


def _hashes(run: Run) -> npt.NDArray[np.int64]:
    table = run.table("batch")
    return np.asarray(table["in_hash"][table["grad"] == 1.0], dtype=np.int64)
