"""The fault zoo: small training programs with ground truth, and the renderer that turns one on or off.

A program is `programs/<split>/<name>.py` with its truth in `<name>.json`. Preprocessor lines (`#% if fault`, `#% else`,
`#% endif`) switch the fault, trailing marks (`#% here`, `#% seed`) point at the accused lines and at the seed; the
renderer removes all of them, so that no tool under test ever sees one. See `README.md` beside this file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

ROOT = Path(__file__).resolve().parent
PROGRAMS = ROOT / "programs"
HEALTHY = "healthy"
SPLITS = ("dev", "test")

_SWITCH = re.compile(r"^\s*#%\s*(if|else|endif)\b\s*(.*?)\s*$")
_MARK = re.compile(r"\s*#%\s*(here|seed)(?::(\w+))?\s*$")
_FAULT = re.compile(r"^fault(?::(\w+))?$")
_INTEGER = re.compile(r"(?<![\w.])\d+(?![\w.])")
_CONDITION = re.compile(r"^(<=|>=|<|>|==)\s*(\S+)$")
_COMPARE = {
    "<": float.__lt__,
    "<=": float.__le__,
    ">": float.__gt__,
    ">=": float.__ge__,
    "==": float.__eq__,
}
SINGLE = "fault"
"""Name of the only fault of a one-fault program; two-fault programs name theirs `a` and `b`."""

Phase = Literal["data", "setup", "forward", "loss", "backward", "step", "scheduler", "eval", "save", "loop"]


class ZooError(ValueError):
    """A program or its truth breaks the format; the message names the file, the line and what was expected."""


class _Record(BaseModel):
    """Base of every stored fact: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(_Record):
    """How a run's end is read: a number taken from stdout, or the name of an exception."""

    pattern: str | None = None
    """Regular expression with one group around the number, matched against stdout."""
    take: Literal["last", "min", "max", "first"] = "last"
    """Which of the matched numbers counts."""
    faulty: str | None = None
    """What the number satisfies when the fault is in: `"nan"`, or comparisons joined by commas: `"> 0.2, < 0.5"`."""
    repaired: str | None = None
    """The same for the program without the fault."""
    crash: str | None = None
    """Name of the exception the faulty program dies of; the repaired one must then exit with 0."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Outcome:
        if (self.pattern is None) == (self.crash is None):
            raise ValueError("an outcome has either a pattern or a crash")
        if self.pattern is not None:
            if re.compile(self.pattern).groups != 1:
                raise ValueError("the pattern needs exactly one group")
            if self.repaired is None:
                raise ValueError("a pattern needs `repaired`")
        for condition in (self.faulty, self.repaired):
            if condition is not None:
                satisfies(0.0, condition)
        return self

    def read(self, stdout: str) -> float | None:
        """The number that counts, or None where stdout has none; a number that cannot be parsed reads as NaN."""
        if self.pattern is None:
            return None
        values = [_number(text) for text in re.findall(self.pattern, stdout)]
        if not values:
            return None
        if self.take in ("min", "max"):
            if any(math.isnan(v) for v in values):
                return math.nan
            return min(values) if self.take == "min" else max(values)
        return values[-1] if self.take == "last" else values[0]


class Truth(_Record):
    """What is known to be true about a program, by construction and by the kill test."""

    cause: str
    """An id of `causes.txt`, or `healthy`; for two faults the first of `causes`."""
    causes: tuple[str, ...] = ()
    """Both ids of a two-fault program, in the order of its faults `a` and `b`."""
    also_right: tuple[str, ...] = ()
    """Ids that name the same fault equally well."""
    looks_like: tuple[str, ...] = ()
    """Ids a careless reader would accuse."""
    phase: Phase | None = None
    component: str | None = None
    """Dotted path of the module or parameter the fault sits in, as `named_modules` spells it."""
    onset_step: int | None = None
    """First optimizer step (counted from 1) at which the mechanism acts; None where it is not tied to a step."""
    summary: str
    sources: tuple[str, ...] = ()
    outcome: Outcome
    also_repairs: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    timeout_s: float = 60.0

    @property
    def all_causes(self) -> tuple[str, ...]:
        """Every cause that is in the program, in the order of its faults."""
        return self.causes or (self.cause,)

    @model_validator(mode="after")
    def _is_complete(self) -> Truth:
        if self.cause == HEALTHY:
            if self.outcome.crash is not None or self.outcome.faulty is not None:
                raise ValueError("a healthy program has neither `crash` nor `faulty` in its outcome")
            return self
        if self.causes and (len(self.causes) != 2 or self.causes[0] != self.cause):
            raise ValueError("`causes` has two ids, the first of which is `cause`")
        if self.phase is None:
            raise ValueError("a faulty program needs a `phase`")
        if not self.sources:
            raise ValueError("a faulty program needs a source: where did a real user do this?")
        if self.outcome.pattern is not None and self.outcome.faulty is None:
            raise ValueError("a faulty program needs `faulty` in its outcome")
        return self


@dataclass(frozen=True)
class Rendered:
    """A program as its user would have written it, with the numbers of the accused lines."""

    source: str
    lines: tuple[int, ...]
    """Accused lines of the switched-on faults, counted from 1."""
    lines_of: dict[str, tuple[int, ...]]
    """The same, by fault."""


@dataclass(frozen=True)
class Program:
    """One entry of the zoo: the annotated text and its truth."""

    name: str
    split: str
    text: str
    truth: Truth

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of the switches: `("fault",)`, `("a", "b")`, or nothing for a healthy program."""
        if self.truth.cause == HEALTHY:
            return ()
        return ("a", "b") if self.truth.causes else (SINGLE,)

    @property
    def digest(self) -> str:
        """Hash of everything a run's outcome depends on."""
        truth = self.truth
        judged = json.dumps([self.text, truth.outcome.model_dump(), truth.causes, truth.args, truth.timeout_s])
        return hashlib.sha256(judged.encode()).hexdigest()[:16]


def satisfies(value: float, condition: str) -> bool:
    """Whether `value` meets `"nan"` (not finite) or every comparison of `"> 0.2, < 0.5"`."""
    if condition.strip() == "nan":
        return not math.isfinite(value)
    results = []
    for part in condition.split(","):
        match = _CONDITION.match(part.strip())
        if match is None:
            raise ZooError(f'expected "nan" or comparisons such as "> 0.2, < 0.5", found {condition!r}')
        results.append(_COMPARE[match[1]](float(value), float(match[2])))
    return all(results)


def render(program: Program, faults: Iterable[str] | None = None, seed: int | None = None) -> Rendered:
    """The program with the named faults in (default: all of them), without switches and marks.

    Raises `ZooError` for unknown faults, unbalanced switches and seed lines without an integer.
    """
    wanted = frozenset(program.faults if faults is None else faults)
    if unknown := wanted - set(program.faults):
        raise ZooError(f"{program.name}: no fault {sorted(unknown)}, it has {list(program.faults)}")
    kept: list[str] = []
    accused: dict[str, list[int]] = {fault: [] for fault in program.faults}
    stack: list[bool] = []
    for number, raw in enumerate(program.text.splitlines(), start=1):
        where = f"{program.name}:{number}"
        if switch := _SWITCH.match(raw):
            _turn(stack, switch, wanted, program.faults, where)
            continue
        if not all(stack):
            continue
        line = raw
        while mark := _MARK.search(line):
            line = line[: mark.start()]
            if mark[1] == "seed":
                line = _reseed(line, seed, where)
                continue
            fault = mark[2] or SINGLE
            if fault not in program.faults:
                raise ZooError(f"{where}: `#% here` names {fault!r}, the program has {list(program.faults)}")
            accused[fault].append(len(kept) + 1)
        if "#%" in line:
            raise ZooError(f"{where}: expected `#% here`, `#% seed` or a switch, found {line.strip()!r}")
        kept.append(line)
    if stack:
        raise ZooError(f"{program.name}: {len(stack)} `#% if` without `#% endif`")
    lines_of = {fault: tuple(accused[fault]) for fault in program.faults if fault in wanted}
    every = sorted({n for numbers in lines_of.values() for n in numbers})
    return Rendered("\n".join(kept) + "\n", tuple(every), lines_of)


def _turn(
    stack: list[bool], switch: re.Match[str], wanted: frozenset[str], faults: tuple[str, ...], where: str
) -> None:
    """Apply one switch line to the stack of open branches."""
    word, rest = switch.groups()
    if word == "if":
        match = _FAULT.match(rest)
        fault = (match[1] or SINGLE) if match else None
        if fault not in faults:
            raise ZooError(f"{where}: expected one of {list(faults)} after `#% if`, found {rest!r}")
        stack.append(fault in wanted)
    elif not stack:
        raise ZooError(f"{where}: `#% {word}` without `#% if`")
    elif word == "else":
        stack[-1] = not stack[-1]
    else:
        stack.pop()


def _reseed(line: str, seed: int | None, where: str) -> str:
    if not _INTEGER.search(line):
        raise ZooError(f"{where}: a line marked `#% seed` needs an integer literal")
    return line if seed is None else _INTEGER.sub(str(seed), line, count=1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@cache
def causes() -> frozenset[str]:
    """Every id a truth file may name."""
    return frozenset((ROOT / "causes.txt").read_text(encoding="utf-8").split())


def load(name: str, split: str = "dev") -> Program:
    """One program by name; raises `ZooError` if it or its truth is absent or malformed."""
    path = PROGRAMS / split / f"{name}.py"
    truth = path.with_suffix(".json")
    for needed in (path, truth):
        if not needed.is_file():
            raise ZooError(f"{split}/{needed.name} does not exist; a program has a .py and a .json")
    try:
        parsed = Truth.model_validate_json(truth.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ZooError(f"{split}/{truth.name}: {error}") from error
    if unknown := set(parsed.all_causes + parsed.also_right + parsed.looks_like) - causes() - {HEALTHY}:
        raise ZooError(f"{split}/{truth.name}: {sorted(unknown)} not in causes.txt")
    return Program(name, split, path.read_text(encoding="utf-8"), parsed)


def load_all(split: str = "dev") -> list[Program]:
    """Every program of a split, by name."""
    return [load(path.stem, split) for path in sorted((PROGRAMS / split).glob("*.py"))]
