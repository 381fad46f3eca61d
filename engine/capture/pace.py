"""The governor: which steps are measured fully, so that the recorder stays within its share of the time."""

from __future__ import annotations

import math
from typing import Final, Literal

BUDGET: Final[dict[str, float]] = {"light": 0.003, "normal": 0.01, "deep": math.inf}
"""Share of the step's own time that full measurements may take on average, unless the user names another."""
SHORT: Final = 1e-3
"""Seconds of a step below which single steps may be passed over: nobody reads a thousand of them a second."""
PASSED: Final = 1.5
"""Times the budget that reading a step without full measurement may take before such steps are passed over."""
MAX_PASSED: Final = 50
"""Steps in a row that are passed over: a loss that becomes NaN is seen all the same, everything else waits so long."""
FIRST: Final = 60
"""Steps from the start that are all measured: most faults show themselves here."""
ALERT: Final = 8
"""Steps measured after something unusual."""
REST: Final = 100
"""Steps after which the next alert counts: a run that stays unusual must not be measured without end."""
SMOOTH: Final = 0.1
"""How far one step moves the running medians of costs."""
LEAST: Final = 0.2
"""Share of a full measurement that is extra at least, however noisy the clock is."""
MAX_EVERY: Final = 1000
ALLOWANCE: Final[dict[str, float]] = {"light": 0.2, "normal": 2.0, "deep": math.inf}
"""Seconds that full measurements may take in all before the budget rules: nobody feels two seconds, and a short run is
then seen whole."""
DENSITY: Final = 16
"""At least so many steps are measured each time the number of steps doubles, whatever the budget says: a few hundred in
a run of a million steps."""


class Pace:
    """Decides at the end of a step whether the next one is measured fully."""

    def __init__(self, level: Literal["light", "normal", "deep"], budget: float | None = None) -> None:
        self.measuring = True
        self.every = 1
        self.passing = 0
        """Steps that are passed over from now on."""
        self._budget = BUDGET[level] if budget is None else budget
        self._alert = -REST
        self._full = math.nan
        self._base = math.nan
        self._plain = math.nan
        self._since = 0
        self._spent = 0.0
        self._allowance = ALLOWANCE[level]
        self._first = FIRST

    def step(self, number: int, took: float, ours: float) -> None:
        """A step ended: `took` seconds in all, `ours` of them."""
        plain = max(took - ours, 1e-6)
        self._plain = _median(self._plain, plain)
        if self.measuring:
            self._full = _median(self._full, ours)
            self._spent += ours
        else:
            self._base = _median(self._base, ours)
        extra = max(self._full - (0.0 if math.isnan(self._base) else self._base), LEAST * self._full)
        if math.isinf(self._budget) or math.isnan(extra):  # nan: no step was measured yet, its cost is unknown
            self.every = 1
        else:
            self.every = min(MAX_EVERY, max(1, math.ceil(extra / (self._budget * self._plain))))
        self._since = 0 if self.measuring else self._since + 1
        self._alert -= 1
        due = self._since + 1 >= min(self.every, max(8, number // DENSITY))
        self.measuring = number < self._first or self._spent < self._allowance or self._alert > 0 or due
        self.passing = 0
        if self._plain < SHORT and not self.measuring and not math.isnan(self._base):
            share = self._base / (PASSED * self._budget * self._plain)
            self.passing = min(MAX_PASSED, math.ceil(share) - 1)

    def passed(self, took: float, steps: int) -> None:
        """Steps were passed over, in so many seconds."""
        self._since += steps
        self._plain = _median(self._plain, max(took / steps, 1e-6))

    def settle(self) -> None:
        """From now on the budget rules: what the beginning is allowed counts as spent."""
        self._allowance = self._spent
        self._first = 0

    def alert(self) -> None:
        """Something unusual: look closely for a while."""
        if self._alert <= -REST:
            self._alert = ALERT
            self.measuring = True

    def without_steps(self, forwards: int) -> None:
        """A program that never steps: measure its first forwards, then those at powers of two."""
        self.measuring = forwards <= FIRST or forwards & (forwards - 1) == 0


def _median(old: float, new: float) -> float:
    """A running median: a step that the machine held up for a second moves it no more than any other."""
    if math.isnan(old):
        return new
    return old * (1 + SMOOTH) if new > old else old / (1 + SMOOTH)
