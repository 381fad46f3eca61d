"""Repair of a vocabulary that is counted without the special tokens that its ids begin with."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional
from aitia.agent.repairs.source import number


def special_tokens(accused: Accused) -> Iterator[Patch]:
    """Where ids are counted from an offset, the size of the vocabulary has it, too."""
    for source in accused.sources:
        for mapping in source.nodes(cst.DictComp):
            found = _offset(source, mapping)
            if found is None:
                continue
            words, offset = found
            edits, inside = Edits(source), set(source.nodes(cst.Call, mapping))
            for call in source.calls("len"):
                around = source.parent(call)
                counted = len(positional(call)) == 1 and source.code(positional(call)[0].value) == words
                if counted and call not in inside and not isinstance(around, cst.BinaryOperation):
                    edits.replace(call, f"{source.code(call)} + {offset}")
            patch = accused.patch("count the special tokens, too", edits)
            if patch is not None:
                yield patch


def _offset(source: Source, mapping: cst.DictComp) -> tuple[str, str] | None:
    """What is numbered, and from which number on: `{w: i + 3 for i, w in enumerate(words)}`."""
    over = mapping.for_in.iter
    if not isinstance(over, cst.Call) or last_name(over.func) != "enumerate" or not positional(over):
        return None
    given = [a.value for a in positional(over)]
    start = keyword(over, "start")
    first = start.value if start is not None else (given[1] if len(given) > 1 else None)
    if first is None and isinstance(mapping.value, cst.BinaryOperation):
        added = isinstance(mapping.value.operator, cst.Add)
        sides = [mapping.value.left, mapping.value.right]
        first = next((s for s in sides if number(s) is not None or isinstance(s, cst.Call)), None) if added else None
    return (source.code(given[0]), source.code(first)) if first is not None else None
