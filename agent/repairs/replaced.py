"""Repair of layers that nothing calls, since what runs was put together from the ones before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name
from aitia.agent.repairs.sequences import LISTS

HOLDS = (cst.List, cst.Tuple, cst.Dict, cst.Name, cst.Attribute)


def stale_module(accused: Accused) -> Iterator[Patch]:
    """What holds the old layer is put together again behind its exchange; of two calls one is for it."""
    part = (accused.hypothesis.component or "").rpartition(".")[2]
    if not part.isidentifier():
        return
    for source in accused.sources:
        for exchange in source.nodes(cst.Assign):
            target, function = exchange.targets[0].target, source.function(exchange)
            made = function is not None and function.name.value == "__init__"
            if len(exchange.targets) != 1 or last_name(target) != part or made:
                continue
            for holder in _holders(source, part, exchange):
                edits, text = Edits(source), source.code(holder)
                root = source.code(target).rpartition(".")[0]
                edits.after(source.statement(exchange), re.sub(r"\bself\b", root, text) if root else text)
                patch = accused.patch(f"put together again what holds the old {part}", edits)
                if patch is not None:
                    yield patch
        yield from _called_instead(accused, source, part)


def _holders(source: Source, part: str, exchange: cst.Assign) -> Iterator[cst.Assign]:
    """Earlier assignments of lists, sequences and other names that were made of the layer."""
    for assign in source.nodes(cst.Assign):
        value = assign.value
        holds = isinstance(value, HOLDS) or (isinstance(value, cst.Call) and last_name(value.func) in LISTS)
        names = [n for kind in (cst.Name, cst.Attribute) for n in source.nodes(kind, value) if last_name(n) == part]
        earlier = source.line(assign) < source.line(exchange)
        if holds and names and earlier and last_name(assign.targets[0].target) != part:
            yield assign


def _called_instead(accused: Accused, source: Source, part: str) -> Iterator[Patch]:
    """`self.a(self.a(x))` in a forward beside an unused `self.b`: the call that runs last is meant for `b`."""
    for function in source.nodes(cst.FunctionDef):
        calls = [c for c in source.nodes(cst.Call, function.body) if source.code(c.func).startswith("self.")]
        if function.name.value != "forward" or any(last_name(c.func) == part for c in calls):
            continue
        stem = part.rstrip("0123456789")
        alike = [
            c for c in calls if isinstance(c.func, cst.Attribute) and last_name(c.func).rstrip("0123456789") == stem
        ]
        names = [source.code(c.func) for c in alike]
        twice = [c for c in alike if names.count(source.code(c.func)) > 1]
        if not twice or stem == part:
            continue
        last = max(twice, key=lambda c: source.span(c)[1])
        edits = Edits(source)
        edits.replace(last.func, f"self.{part}")
        patch = accused.patch(f"call {part}, which nothing calls", edits)
        if patch is not None:
            yield patch
