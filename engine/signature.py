"""The order of calls within a step, as the recorder writes it: `Z0 (D F0 L0 B)*4 C S0`."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One letter of a call signature, e.g. `B`, `Z0`, `E1*40`."""

    letter: str
    index: int
    """Number after the letter; where none stands 0, or -1 for a clearing of gradients that is no optimizer's own."""
    times: int = 1


_TOKEN = re.compile(r"\(|\)(?:\*(\d+))?|([A-Za-z])(\d*)(?:\*(\d+))?")
MAX_CALLS = 2000
"""Repeats beyond this are cut: what a step does is clear long before."""


def parse_signature(text: str) -> list[Call]:
    """The calls of one step in order; folded groups such as `(Z0 F0 B)*23` are unfolded."""
    stack: list[list[Call]] = [[]]
    for match in _TOKEN.finditer(text):
        if match[0] == "(":
            stack.append([])
        elif match[0].startswith(")"):
            group = stack.pop() if len(stack) > 1 else []
            room = max(1, MAX_CALLS // max(1, len(group)))
            stack[-1].extend(group * min(int(match[1] or 1), room))
        else:
            unnamed = -1 if match[2] == "Z" else 0
            stack[-1].append(Call(match[2], int(match[3] or unnamed), int(match[4] or 1)))
    return [call for level in stack for call in level]


def wiped(calls: list[Call]) -> int:
    """Backward passes whose gradient a later zero_grad wiped before a step."""
    lost, pending = 0, 0
    for call in calls:
        if call.letter == "B":
            pending += call.times
        elif call.letter == "Z":
            lost, pending = lost + pending, 0
        elif call.letter == "S":
            pending = 0
    return lost


def passed_over(calls: list[Call], index: int) -> bool:
    """Whether one optimizer clears, a backward follows, and then none at all steps before another one clears."""
    cleared = backed = False
    for call in [*calls, *calls]:  # what a step leaves behind shows in the next one
        if call.letter == "Z":
            if cleared and backed and call.index != index:
                return True
            cleared, backed = call.index == index, False
        elif call.letter == "B":
            backed = cleared
        elif call.letter == "S":
            cleared = False
    return False
