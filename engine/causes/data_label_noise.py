"""Labels of particular classes are swapped or merged.

Source: TheDeepChecker; DeepCrime TCL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports

SWAPPED = 0.6
"""Share of a class that evaluation takes for another one, beyond which its name and not its look is at fault."""

HALF = (0.3, 0.75)
"""Confusion of two classes that nothing tells apart."""
CLEAN = 0.85


def weigh(case: Case) -> Iterator[Weight]:
    """Errors that sit in one or two cells of the confusion table, while all other classes are learned."""
    train, held_out = case.confusion(grad=True), case.confusion(grad=False)
    mixed = None if train is None else _pair(train)
    apart = None if held_out is None else _pair(held_out)
    if mixed is not None and (held_out is None or held_out.shape == mixed.table.shape):
        yield from _in_training(mixed, held_out)
    elif train is not None and len(swaps := _swaps(train)) > 1:
        names = ", ".join(f"{a} and {b}" for a, b in swaps)
        yield supports(
            STRONG + WEAK,
            f"in training the classes {names} are taken for each other as often as not, while all other classes are learned: "
            "their labels are swapped for part of the samples",
            tool="layer_analyzer",
            step=1,
            pairs=len(swaps),
        )
    elif apart is not None and train is not None and train.shape == apart.table.shape:
        a, b = apart.a, apart.b
        own = float(train[a, a] / max(train[a].sum(), 1e-9))
        if apart.mixed > SWAPPED and own > 0.9:
            yield supports(
                STRONG + WEAK,
                f"in training {100 * own:.0f} % of class {a} are recognised, but in evaluation {100 * apart.mixed:.0f} % of it "
                f"are taken for {b}, while the other classes reach {100 * apart.good:.0f} %: the two have other names there",
                tool="layer_analyzer",
                step=1,
                trained=own,
                mixed=apart.mixed,
                others=apart.good,
            )


def _in_training(pair: _Pair, held_out: Floats | None) -> Iterator[Weight]:
    """Mixed-up labels do harm in training alone; classes that are alike are mistaken for each other everywhere."""
    a, b = pair.a, pair.b
    counted = held_out is not None and held_out[a].sum() >= 10
    elsewhere = float((held_out[a, b]) / held_out[a].sum()) if held_out is not None and counted else None
    alike = elsewhere is None or elsewhere > 0.5 * pair.mixed
    yield supports(
        MODERATE if alike else STRONG,
        f"{100 * pair.share:.0f} % of the training errors are between classes {a} and {b} ({100 * pair.mixed:.0f} % of class "
        f"{a} is taken for {b}"
        + (f", in evaluation {100 * elsewhere:.0f} %" if elsewhere is not None else "")
        + f"), while the other classes reach {100 * pair.good:.0f} %"
        + ("" if alike else ": their training labels are mixed up"),
        tool="layer_analyzer",
        step=1,
        share=pair.share,
        mixed=pair.mixed,
        elsewhere=elsewhere,
        others=pair.good,
    )


@dataclass(frozen=True)
class _Pair:
    """The two classes between which most errors are."""

    table: Floats
    a: int
    b: int
    share: float
    mixed: float
    good: float


def _pair(table: Floats) -> _Pair | None:
    if len(table) < 3 or table.sum() < 100:
        return None
    errors = table.copy()
    np.fill_diagonal(errors, 0.0)
    if errors.sum() < 0.03 * table.sum():
        return None
    a, b = (int(i) for i in np.unravel_index(int(errors.argmax()), errors.shape))
    share = float((errors[a, b] + errors[b, a]) / errors.sum())
    mixed = float(errors[a, b] / max(table[a].sum(), 1e-9))
    others = [i for i in range(len(table)) if i not in {a, b} and table[i].sum() > 0]
    good = float(np.mean([table[i, i] / table[i].sum() for i in others])) if others else 0.0
    by_chance = 2.0 / (len(table) * (len(table) - 1))
    if share > max(0.6, 4 * by_chance) and mixed > 0.15 and good > 0.9:
        return _Pair(table, a, b, share, mixed, good)
    return None


def _swaps(table: Floats) -> list[tuple[int, int]]:
    """Disjoint pairs of classes that are mistaken for each other about half of the time, where the rest is learned."""
    if len(table) < 4 or table.sum() < 100:
        return []
    rows = table / np.maximum(table.sum(1, keepdims=True), 1e-9)
    found = []
    for a in range(len(table)):
        b = int(np.argmax(np.where(np.arange(len(table)) == a, -1.0, rows[a])))
        mutual = (rows[a, b] + rows[b, a]) / 2
        back = int(np.argmax(np.where(np.arange(len(table)) == b, -1.0, rows[b]))) == a
        if a < b and back and mutual > HALF[0] and max(rows[a, b], rows[b, a]) < HALF[1]:
            found.append((a, b))
    inside = {c for pair in found for c in pair}
    pure = all(rows[a, a] + rows[a, b] > CLEAN and rows[b, b] + rows[b, a] > CLEAN for a, b in found)
    others = [rows[i, i] for i in range(len(table)) if i not in inside and table[i].sum() > 0]
    return found if len(inside) == 2 * len(found) and pure and others and min(others) > CLEAN - 0.1 else []


CAUSE = Cause(
    id="data.label_noise",
    title="Labels of particular classes are swapped, merged or clipped",
    phase="data",
    repair="Repair the map from raw labels to class ids (1-based labels, merged names).",
    mistaken_for={
        "data.label_misaligned": "there all classes are affected",
        "eval.underfit_stopped_early": "there errors are spread",
    },
    explains=("eval.underfit_stopped_early",),
    intervention="none at run time",
    next_measurement="confusion table on hand-checked samples",
    weigh=weigh,
    source="DeepCrime TCL",
)
