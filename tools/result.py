"""What every tool gives back: one closed model whose summary stands alone, with numbered evidence and next calls."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

from pydantic import Field

from aitia.engine.records import Evidence, Record, Scalar

MAX_BYTES: Final = 10_000
"""Clients cut longer replies in the middle (Codex near 12,000 characters, Claude Code's errors near 10,000)."""

MAX_VALUE: Final = 200
"""Characters of one value of evidence."""
MAX_ACTIONS: Final = 3
"""More than three next steps is a menu, not advice."""

FIRST_ID: Final[dict[str, int]] = {
    "layer_analyzer": 100,
    "gradient_debugger": 200,
    "performance_profiler": 300,
    "memory_tracker": 400,
    "error_diagnoser": 500,
    "causal": 600,
    "compare": 700,
}
"""Where each tool's evidence ids begin, so that ids of answers about one run never collide (1-99: diagnosis)."""


class Action(Record):
    """A tool call worth making next, with complete arguments."""

    tool: str
    arguments: dict[str, str] = Field(default_factory=dict)
    reason: str


class ToolResult(Record):
    """Base of every answer."""

    shrinkable: ClassVar[tuple[str, ...]] = ()
    """Lists that may be cut from the end when the answer is too long, the least important first."""

    run: str | None = None
    summary: str
    """Stands alone: the finding in one or two sentences."""
    evidence: tuple[Evidence, ...] = ()
    suggested_actions: tuple[Action, ...] = Field(default=(), max_length=MAX_ACTIONS)
    omitted: str | None = None
    """What was left out to keep the answer short, and how to get it."""

    def payload(self) -> dict[str, Any]:
        """Plain JSON data: nothing that is None, no NaN, no empty list inside a row."""
        data = self.model_dump(mode="json", exclude_none=True)
        return {k: _finite(v) for k, v in data.items()}

    def fitted(self, limit: int = MAX_BYTES) -> Self:
        """The same answer within `limit` bytes of JSON, saying what was left out."""
        result, cut = self, dict.fromkeys(self.shrinkable, 0)
        for field in self.shrinkable:
            while _size(result) > limit and (value := getattr(result, field)):
                whole = isinstance(value, str) and not field.startswith("untrusted_")  # half a graph is none
                kept = value[: 0 if whole else len(value) * 3 // 4]
                gone = {cited for row in value[len(kept) :] if isinstance(cited := getattr(row, "evidence", None), str)}
                cut[field] += len(value) - len(kept)
                note = ", ".join(f"{n} {'characters of' if isinstance(getattr(self, f), str) else 'of'} {f}"
                                 for f, n in cut.items() if n)  # fmt: skip
                left_out = f"cut to fit {limit} bytes: {note}; ask for one subject by name"
                changes: dict[str, Any] = {"omitted": ". ".join(t for t in (self.omitted, left_out) if t)}
                changes["evidence"] = tuple(e for e in result.evidence if e.id not in gone)
                changes[field] = kept or (None if whole else kept)
                result = result.model_copy(update=changes)
        return result


class Ledger:
    """Collects evidence of one tool and numbers it."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._items: list[Evidence] = []

    def add(self, statement: str, **values: float | int | str | bool | None) -> str:
        """Keep one measured statement; returns its id."""
        number = f"E{FIRST_ID[self._tool] + len(self._items)}"
        rounded: dict[str, Scalar] = {k: number_of(v) if isinstance(v, float) else v for k, v in values.items()}
        self._items.append(Evidence(id=number, tool=self._tool, statement=statement, values=rounded))
        return number

    def all(self) -> tuple[Evidence, ...]:
        """Everything kept so far."""
        return tuple(self._items)


def number_of(value: float | None, digits: int = 4) -> float | None:
    """The value with `digits` significant digits; None when it is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.{digits}g}")


def shown(value: Scalar, clean: Callable[[str, int], str]) -> Scalar:
    """A value of evidence made elsewhere: text cleaned, numbers with four significant digits."""
    if isinstance(value, str):
        return clean(value, MAX_VALUE)
    return number_of(value) if isinstance(value, float) else value


def text_of(value: float | None) -> str:
    """A number as a reader wants it: three significant digits."""
    if value is None or math.isnan(value):
        return "not measured"
    if math.isinf(value):
        return "infinite"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "not measured" if share is None or not math.isfinite(share) else f"{100 * share:.3g} %"


def _size(result: ToolResult) -> int:
    return len(json.dumps(result.payload(), ensure_ascii=False, separators=(",", ":")).encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items() if v not in ([], {})}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value
