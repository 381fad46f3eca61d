"""Which of several repairs that differ in one number is best: what they come to, with a margin on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aitia.engine.replay.reading import Reading

AS_GOOD_ACCURACY = 0.02
"""Difference of two accuracies that says nothing on a few hundred samples."""
AS_GOOD_LOSS = 1.3
"""Ratio of two errors that another seed turns round."""
RANK = {"proved": 0, "unfinished": 1, "inconclusive": 2, "refuted": 3}
"""Verdicts on one run each, the best first."""


@dataclass(frozen=True)
class Entry:
    """One number that was tried."""

    number: float
    reading: Reading
    status: str
    """The verdict on its first run."""


def order(entries: Sequence[Entry]) -> list[int]:
    """Places of the entries, the best first.

    Of those that come to as good as the same, the one in the middle leads: the others stand nearer to a number that
    does not do. Of two it is the smaller number, since too large a rate is worse than one that is a little slow.
    """
    best = min((RANK[e.status] for e in entries), default=0)
    able = [i for i, e in enumerate(entries) if RANK[e.status] == best]
    good = _as_good(entries, able)
    by_number = sorted(good, key=lambda i: -entries[i].number)
    middle = len(by_number) // 2
    ranked = sorted(good, key=lambda i: abs(by_number.index(i) - middle))
    others = [i for i in range(len(entries)) if i not in good]
    return [*ranked, *sorted(others, key=lambda i: RANK[entries[i].status])]


def beyond(number: float | None, best: float, tried: Sequence[float]) -> bool:
    """Whether a number lies outside those that were tried, on the side of the best of them."""
    if number is None:
        return False
    return number < min(tried) if best == min(tried) else number > max(tried)


def _as_good(entries: Sequence[Entry], able: Sequence[int]) -> list[int]:
    """Those with the best outcome, as far as one run tells: by accuracy, else by the error at the end."""
    readings = [entries[i].reading for i in able]
    accuracies = [r.accuracy for r in readings if r.accuracy is not None]
    if accuracies and len(accuracies) == len(readings):
        return [i for i in able if (entries[i].reading.accuracy or 0.0) >= max(accuracies) - AS_GOOD_ACCURACY]
    errors = {i: _error(entries[i].reading) for i in able}
    least = min(errors.values(), default=math.inf)
    return (
        [i for i in able if errors[i] <= AS_GOOD_LOSS * least] if least > 0 else [i for i in able if errors[i] <= least]
    )


def _error(reading: Reading) -> float:
    """The error that the program prints beside its training loss, else the share of its loss that is left.

    A share, since a change that takes the loss whole, instead of a part of it, changes its size.
    """
    if reading.told is not None:
        return reading.told
    first, last = reading.loss_first, reading.loss_last
    if last is None:
        return math.inf
    return last / first if first is not None and first > 0 else last


__all__ = ["Entry", "beyond", "order"]
