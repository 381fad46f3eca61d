"""Where two runs part: the first step that is not the same, and in it the first quantity in the order of computing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from aitia.engine.records import Record
from aitia.engine.store.reader import Run, Wide
from aitia.tools.trust import safe_name

SAME: Final = 1e-6
"""Relative difference of two float32 statistics of the same numbers; runs of one program and seed agree exactly."""
Phase = Literal["data", "mode", "weights", "forward", "loss", "backward", "step"]
LAYER: Final = ("out_mean", "out_std")
Names = dict[str, int]


class Divergence(Record):
    """The first difference between the measurements of two runs."""

    step: int
    phase: Phase
    """data (the batch), mode (training or evaluation), weights (before the first step), forward, loss, backward, step
    (the same gradient made another update)."""
    subject: str | None = None
    """The layer or parameter: in forward the first one, in backward the one nearest to the loss."""
    differs: int = 0
    """Layers or parameters that differ in this phase of this step …"""
    of: int = 0
    """… of so many that both runs have."""


def first_divergence(a: Run, b: Run) -> Divergence | None:
    """The first step at which anything measured differs; None where all that both measured is the same."""
    layers, parameters = _Pair(a, b, "layer"), _Pair(a, b, "param")
    batches = _batches(a), _batches(b)
    losses = {int(s): v for s, v in zip(*b.scalar("loss"), strict=True)}
    for step, loss in zip(*a.scalar("loss"), strict=True):
        at = int(step)
        if at not in losses:
            return None
        found = _within(at, layers, parameters, batches, (float(loss), float(losses[at])))
        if found is not None:
            return found
    return None


def _within(
    step: int, layers: _Pair, parameters: _Pair, batches: tuple[_Batches, _Batches], losses: tuple[float, float]
) -> Divergence | None:
    """The first difference in a step, in the order in which its numbers are made."""
    fed = batches[0].get(step), batches[1].get(step)
    if fed[0] is not None and fed[1] is not None and fed[0] != fed[1]:
        return Divergence(step=step, phase="data", differs=1, of=1)
    forward = layers.differ(step, LAYER)
    if any(forward.values()):
        return _told(step, _kind(step, forward, layers), forward, first=True)
    one, other = losses
    if one != other and not (np.isnan(one) and np.isnan(other)):
        return Divergence(step=step, phase="loss", differs=1, of=1)
    backward = parameters.differ(step, ("grad_norm",))
    if any(backward.values()):
        return _told(step, "backward", backward, first=False)
    update = parameters.differ(step, ("weight_norm",))
    return _told(step, "step", update, first=True) if any(update.values()) else None


def _kind(step: int, forward: dict[str, bool], layers: _Pair) -> Phase:
    """Why a layer that was fed the same gives something else: its mode, its first weights, or what came before."""
    first = next(n for n, differs in forward.items() if differs)
    if layers.differ(step, ("training",)).get(first):
        return "mode"
    fed = layers.differ(step, ("in_mean", "in_std")).get(first)
    return "weights" if step == 1 and not fed and layers.weighted(first) else "forward"


def _told(step: int, phase: Phase, found: dict[str, bool], *, first: bool) -> Divergence:
    names = [n for n, differs in found.items() if differs]
    subject = safe_name(names[0 if first else -1])
    return Divergence(step=step, phase=phase, subject=subject, differs=len(names), of=len(found))


_Batches = dict[int, tuple[int, ...]]


def _batches(run: Run) -> _Batches:
    """Step → fingerprints of its training batches."""
    table = run.table("batch")
    keep = table["grad"] == 1.0
    found: dict[int, tuple[int, ...]] = {}
    for step, fingerprint in zip(table["step"][keep].tolist(), table["in_hash"][keep].tolist(), strict=True):
        found[int(step)] = (*found.get(int(step), ()), int(fingerprint))
    return found


def common_batches(a: Run, b: Run) -> tuple[float, int]:
    """Share of the training batches of `a` that `b` was given, too (in any order), and how many `a` had."""
    mine = [h for hashes in _batches(a).values() for h in hashes]
    theirs = {h for hashes in _batches(b).values() for h in hashes}
    return (float(np.mean([h in theirs for h in mine])), len(mine)) if mine else (float("nan"), 0)


class _Pair:
    """One wide table of both runs, with the columns that have the same name in both."""

    def __init__(self, a: Run, b: Run, table: Literal["layer", "param"]) -> None:
        self._tables: tuple[Wide, Wide] = a.wide(table), b.wide(table)
        self._rows = [{int(s): i for i, s in enumerate(t.steps)} for t in self._tables]
        self._weighted = {x.name for x in a.layers if x.parameters}
        names = [dict(_columns(r, table)) for r in (a, b)]
        self._columns = {n: (i, names[1][n]) for n, i in names[0].items() if n in names[1]}

    def weighted(self, name: str) -> bool:
        """Whether a layer holds parameters of its own."""
        return name in self._weighted

    def differ(self, step: int, stats: tuple[str, ...]) -> dict[str, bool]:
        """Name → whether any of the statistics differs; only what both runs measured at that step."""
        rows = [r.get(step) for r in self._rows]
        if rows[0] is None or rows[1] is None:
            return {}
        found = {}
        for name, (i, j) in self._columns.items():
            pairs = [
                (_at(self._tables[0].values[s], rows[0], i), _at(self._tables[1].values[s], rows[1], j)) for s in stats
            ]
            known = [(x, y) for x, y in pairs if np.isfinite(x) and np.isfinite(y)]
            if known:
                found[name] = any(abs(x - y) > SAME * max(abs(x), abs(y), 1e-30) for x, y in known)
        return found


def _columns(run: Run, table: Literal["layer", "param"]) -> Iterator[tuple[str, int]]:
    if table == "layer":
        yield from ((x.name, x.index) for x in run.layers if x.leaf)
    else:
        yield from ((p.name, p.index) for p in run.parameters if p.in_model)


def _at(values: npt.NDArray[np.float32], row: int, column: int) -> float:
    return float(values[row, column]) if column < values.shape[1] else float("nan")
