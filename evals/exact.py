"""Bit for bit: does a recorded program print exactly what it prints alone, and end the same way?

A printed loss is the sum of everything before it: one changed bit in a weight or one random number drawn too many shows
in its digits. Programs that print something different each time they run alone (times, addresses) tell nothing and are
left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from aitia.evals import kill
from aitia.evals.recordings import Recording
from aitia.evals.zoo import Program

Outcome = Literal["same", "differs", "unsteady", "timeout"]


@dataclass(frozen=True)
class Comparison:
    """One recorded run against the same program alone."""

    program: str
    variant: str
    seed: int
    outcome: Outcome
    difference: str = ""
    """First line that differs, alone and recorded."""


Plan = Sequence[tuple[Program, str, int, Recording]]


def compare(plan: Plan, jobs: int = 1, say: Callable[[str], None] = lambda _: None) -> list[Comparison]:
    """Run every program of the plan alone and compare with its recording; what was compared before is kept."""
    found: dict[int, Comparison] = {}
    runs: dict[int, kill.Run] = {}
    for i, (program, variant, seed, recording) in enumerate(plan):
        known = _known(recording)
        if known is not None:
            found[i] = Comparison(program.name, variant, seed, known["outcome"], known["difference"])
        else:
            runs[i] = kill.Run(program, frozenset(program.faults) if variant == "faulty" else frozenset(), seed)
    say(f"bit for bit: {len(found)} compared before, {len(runs)} to run alone")
    alone = _execute(runs, jobs)
    doubtful = {i: run for i, run in runs.items() if not _equal(alone[i], plan[i][3].result)}
    again = _execute(doubtful, jobs)
    for i in runs:
        program, variant, seed, recording = plan[i]
        outcome, difference = _judge(alone[i], again.get(i), recording.result)
        _remember(recording, {"outcome": outcome, "difference": difference})
        found[i] = Comparison(program.name, variant, seed, outcome, difference)
    return [found[i] for i in sorted(found)]


def summary(compared: Iterable[Comparison]) -> dict[str, Any]:
    """Counts and the names of what is not the same."""
    by: dict[str, list[Comparison]] = {"same": [], "differs": [], "unsteady": [], "timeout": []}
    for one in compared:
        by[one.outcome].append(one)
    return {
        "n": len(by["same"]) + len(by["differs"]),
        "same": len(by["same"]),
        "differs": [{"run": f"{c.program}/{c.variant}-{c.seed}", "first": c.difference} for c in by["differs"]],
        "unsteady": [f"{c.program}/{c.variant}-{c.seed}" for c in by["unsteady"]],
        "timeout": [f"{c.program}/{c.variant}-{c.seed}" for c in by["timeout"]],
    }


def _execute(runs: dict[int, kill.Run], jobs: int) -> dict[int, kill.Result]:
    number = {run: i for i, run in runs.items()}
    return {number[run]: result for run, result in kill.execute(runs.values(), jobs)}


def _equal(a: kill.Result, b: kill.Result) -> bool:
    return (a.code, a.stdout) == (b.code, b.stdout)


def _judge(alone: kill.Result, again: kill.Result | None, recorded: kill.Result) -> tuple[Outcome, str]:
    if None in (alone.code, recorded.code, again.code if again is not None else 0):
        return "timeout", ""
    if again is None or not _equal(alone, again):
        return ("same" if again is None else "unsteady"), ""
    return "differs", _difference(alone, recorded)


def _difference(alone: kill.Result, recorded: kill.Result) -> str:
    if alone.code != recorded.code:
        return f"exit {alone.code} alone, {recorded.code} recorded"
    for one, other in zip_longest(alone.stdout.splitlines(), recorded.stdout.splitlines(), fillvalue="(nothing)"):
        if one != other:
            return f"{one[:80]!r} alone, {other[:80]!r} recorded"
    return "line ends"


def _known(recording: Recording) -> dict[str, Any] | None:
    try:
        data = json.loads((recording.folder / "exact.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return dict(data) if data.get("key") == recording.key and data["outcome"] != "timeout" else None


def _remember(recording: Recording, data: dict[str, Any]) -> None:
    text = json.dumps({"key": recording.key, **data}, indent=1)
    (recording.folder / "exact.json").write_text(text, encoding="utf-8")
