"""The same program with the same seed, recorded a second time: is the answer the same?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aitia.evals.score import Reply


def compared(pairs: Iterable[tuple[str, Reply, Reply]]) -> dict[str, Any]:
    """How many of (name, first reply, second reply) agree in verdict, first cause, component and lines."""
    told = [(name, _told(a), _told(b)) for name, a, b in pairs]
    differ = [f"{name}: {first}; then {second}" for name, first, second in told if first != second]
    return {"n": len(told), "same": len(told) - len(differ), "differ": differ}


def _told(reply: Reply) -> str:
    """What a user reads first, as one line."""
    lines = ", ".join(map(str, reply.lines)) or "unknown"
    return f"{reply.verdict} ({reply.first}) at {reply.component or 'no component'}, line {lines}"


def sentences(data: dict[str, Any] | None) -> list[str]:
    """The report's lines; none where nothing was recorded twice."""
    if not data:
        return []
    head = f"Recorded twice with the same seed: the same answer in {data['same']} of {data['n']}.\n"
    return [head, *(f"- {line}" for line in data["differ"])]
