"""The order of calls between two steps, as a line of letters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aitia.engine.capture.recorder import Recorder

MAX_TOKENS: Final = 400
"""Calls kept between two steps; an evaluation of thousands of batches folds to a few."""
MAX_PERIOD: Final = 6
"""Longest group of calls that is folded when it repeats: D E l and friends."""
MAX_FACTS: Final = 40
MAX_COUNTED: Final = 400
_TRAINING: Final = frozenset("BFfLSZCUGAR")
"""Letters that are never folded away in groups: how often a backward ran between two steps must stay readable."""


class Signature:
    """Collects letters; tells a fact whenever the order differs from the last step's."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._calls: list[list[str | int]] = []
        self._last: str | None = None
        self._partial = False
        self._facts = 0
        self.counts: Counter[str] = Counter()

    def add(self, letter: str) -> None:
        """One more call."""
        calls = self._calls
        if calls and calls[-1][0] == letter:
            calls[-1][1] += 1  # type: ignore[operator]  # the pair is [letter, count]
        elif len(calls) < MAX_TOKENS:
            calls.append([letter, 1])
            if letter[0] not in _TRAINING:
                self._fold()

    def cut(self) -> None:
        """A step ended."""
        line = self.line()
        self._calls = []
        if self._partial:
            self._partial = False
            return
        if line in self.counts or len(self.counts) < MAX_COUNTED:
            self.counts[line] += 1
        if line != self._last and self._facts < MAX_FACTS:
            self._facts += 1
            self._recorder.fact("signature", data={"signature": line})
        self._last = line

    def forget(self, partial: bool) -> None:
        """What was called since the last step is not all that was; `partial`: nor will it be when the step ends."""
        self._calls, self._partial = [], partial

    def line(self) -> str:
        """The calls since the last step."""
        return " ".join(str(x) if n == 1 else f"({x})*{n}" if " " in str(x) else f"{x}*{n}" for x, n in self._calls)

    def finish(self) -> None:
        """The end of the run: how often each order occurred; what came after the last step counts too."""
        if self._calls and not self._partial:
            line = self.line()
            self.counts[line] += 1
            if line != self._last and self._facts < MAX_FACTS:
                self._recorder.fact("signature", data={"signature": line, "unfinished": True})
        self._recorder.fact("signature_counts", data=dict(self.counts.most_common(MAX_COUNTED)))

    def _fold(self) -> None:
        """Fold a repeated group without training calls at the end of the list: D E0 l0 D E0 l0 → (D E0 l0)*2."""
        calls = self._calls
        if len(calls) < 3:
            return
        for period in range(2, MAX_PERIOD + 1):
            if len(calls) >= period + 1 and self._repeats_group(period):
                return
            if len(calls) < 2 * period or calls[-period:] != calls[-2 * period : -period]:
                continue
            group = calls[-period:]
            if any(str(x)[0] in _TRAINING or " " in str(x) for x, _ in group):
                continue
            text = " ".join(str(x) if n == 1 else f"{x}*{n}" for x, n in group)
            del calls[-2 * period :]
            calls.append([text, 2])
            return

    def _repeats_group(self, period: int) -> bool:
        calls = self._calls
        text, _ = calls[-period - 1]
        if " " not in str(text):
            return False
        group = calls[-period:]
        if str(text) != " ".join(str(x) if n == 1 else f"{x}*{n}" for x, n in group):
            return False
        calls[-period - 1][1] += 1  # type: ignore[operator]  # the pair is [letter, count]
        del calls[-period:]
        return True
