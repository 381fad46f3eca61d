"""The governor: which steps are measured fully, so that the recorder stays within its share of the time."""

from __future__ import annotations

import math
from typing import Final, Literal

BUDGET: Final[dict[str, float]] = {"light": 0.003, "normal": 0.01, "deep": math.inf}
"""Share of the step's own time that full measurements may take on average, unless the user names another."""
SHORT: Final = 0.05
"""Seconds of a step below which only loss and gradients may be read between full measurements: nobody looks at twenty
steps a second one by one."""
FORGETFUL: Final = 0.003
"""Seconds of a step below which even what would explain a NaN (the inputs of the forward) is not kept meanwhile: hooks
that do nothing else cost a tenth of such a step."""
PASSED: Final = 0.5
"""Times the budget that the rest may take on such a step before it is left out."""
LEARNED: Final = 4
"""Steps without full measurement after which their cost is known."""
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
        self._rest = math.nan
        """Seconds of ours in a step that is passed over."""
        self._plain = math.nan
        self._since = 0
        self._settled = False
        self._bases = 0
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
            self._bases += 1
        self._budgeted()
        self._since = 0 if self.measuring else self._since + 1
        self._alert -= 1
        wait = self._wait(number)
        begins = number < self._first or self._spent < self._allowance
        self.measuring = begins or self._alert > 0 or wait <= 0
        self.passing = 0
        if not self.measuring and self._plain < SHORT and self._bases >= LEARNED:
            self.passing = wait if self._base > PASSED * self._budget * self._plain else 0

    def _budgeted(self) -> None:
        """How often the budget allows a full measurement."""
        usual = self._base if math.isnan(self._rest) else self._rest
        extra = max(self._full - (0.0 if math.isnan(usual) else usual), LEAST * self._full)
        if math.isinf(self._budget) or math.isnan(extra):  # nan: no step was measured yet, its cost is unknown
            self.every = 1
        else:
            self.every = min(MAX_EVERY, max(1, math.ceil(extra / (self._budget * self._plain))))

    def _wait(self, number: int) -> int:
        """Steps until the next one that is due."""
        every = self.every if self._settled else min(self.every, max(8, number // DENSITY))
        return every - self._since - 1

    def passed(self, number: int, steps: int, plain: float, ours: float) -> None:
        """Steps were passed over; of the middle one of them `plain` seconds were the program's, and `ours` ours."""
        self._since += steps
        self._alert -= steps
        self._plain = _median(self._plain, max(plain, 1e-6))
        self._rest = _median(self._rest, ours)
        self._budgeted()
        self.measuring = self._wait(number) <= 0

    @property
    def watchful(self) -> bool:
        """Whether steps are long enough for keeping what would explain a NaN."""
        return self._plain >= FORGETFUL

    def settle(self) -> None:
        """From now on the budget alone rules, as it does late in a long run."""
        self._allowance = self._spent
        self._first = 0
        self._settled = True

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
