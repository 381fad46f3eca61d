"""Repairs of features and targets that are brought into an order each by itself: by value, by helper, on one side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, targets
from aitia.agent.repairs.flow import definitions, own_functions, returned
from aitia.agent.repairs.pairing import DRAWS, LABEL, SUMMARY
from aitia.agent.repairs.source import number

ORDERS = DRAWS | {"argsort", "lexsort"}


def one_order(accused: Accused) -> Iterator[Patch]:
    """One order for both: drawn once, asked of a helper with one seed, or applied to the partner, too."""
    for source in accused.sources:
        for edits in (*_two_permutations(source), *_two_askings(source), *_one_sided(source)):
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch


def _two_permutations(source: Source) -> Iterator[Edits]:
    """`X = a.permutation(X)` and `y = b.permutation(y)`: one order of places for both."""
    calls = [c for c in source.calls("permutation") if len(positional(c)) == 1 and len(targets(source, c)) == 1]
    calls = [c for c in calls if source.code(positional(c)[0].value) == source.code(targets(source, c)[0])]
    for one, other in combinations(calls, 2):
        if source.scope(one) is not source.scope(other):
            continue
        edits, (x, y) = Edits(source), (source.code(positional(c)[0].value) for c in (one, other))
        if x == y:
            continue
        edits.before(source.statement(one), f"order = {source.code(one.func)}(len({x}))")
        edits.replace(one, f"{x}[order]")
        edits.replace(other, f"{y}[order]")
        yield edits


def _two_askings(source: Source) -> Iterator[Edits]:
    """A helper that draws an order is asked for each: with one seed, or what it does is done with one order."""
    calls = [c for c in source.nodes(cst.Call) if own_functions(source, c) and positional(c)]
    for one, other in combinations(calls, 2):
        helper = own_functions(source, one)[0]
        if last_name(one.func) != last_name(other.func) or source.scope(one) is not source.scope(other):
            continue
        if not source.calls(*DRAWS, within=helper.body) or not LABEL.search(_base(source, other)):
            continue
        edits = Edits(source)
        for given, again in zip(one.args, other.args, strict=False):
            if number(given.value) is not None and number(again.value) is not None:
                edits.replace(again.value, source.code(given.value))
        yield edits
        values, names = returned(source, helper), [p.name.value for p in helper.params.params]
        value = values[0] if len(values) == 1 else None
        draw = next(iter(source.calls(*DRAWS, within=value)), None) if isinstance(value, cst.Subscript) else None
        x, y = (source.code(positional(c)[0].value) for c in (one, other))
        if draw is not None and isinstance(value, cst.Subscript) and source.code(value.value) == names[:1][0]:
            edits = Edits(source)
            size = f"{source.code(draw.func)}(len({x}))"
            edits.before(source.statement(one), f"order = {size}")
            edits.replace(one, f"{x}[order]")
            edits.replace(other, f"{y}[order]")
            yield edits


def _base(source: Source, call: cst.Call) -> str:
    """What a call is given first, without the part of it that is meant."""
    given: cst.BaseExpression = positional(call)[0].value
    while isinstance(given, cst.Subscript):
        given = given.value
    return source.code(given)


def _one_sided(source: Source) -> Iterator[Edits]:
    """`X = data[order]`, and targets that stay where they were: the same order for them."""
    for subscript in source.nodes(cst.Subscript):
        inner = subscript.slice[0].slice if len(subscript.slice) == 1 else None
        index = inner.value if isinstance(inner, cst.Index) else None
        if not isinstance(index, cst.Name) or source.loop(subscript) is not None:
            continue
        made = [a.value for a in definitions(source, index)]
        ordered = len(made) == 1 and isinstance(made[0], cst.Call) and last_name(made[0].func) in ORDERS
        used = [s for s in source.nodes(cst.Subscript, source.scope(subscript))
                if any(n.value == index.value for e in s.slice for n in source.nodes(cst.Name, e))]  # fmt: skip
        if not ordered or len(used) != 1 or LABEL.search(source.code(subscript.value)):
            continue
        for assign in source.nodes(cst.Assign, source.scope(subscript)):
            target = assign.targets[0].target
            if not isinstance(target, cst.Name) or not LABEL.search(target.value):
                continue
            edits, plain = Edits(source), isinstance(assign.value, (cst.Name, cst.Attribute))
            if source.line(assign) > source.line(subscript) and plain:
                edits.replace(assign.value, f"{source.code(assign.value)}[{index.value}]")
            elif source.line(assign) < source.line(subscript):
                edits.after(source.statement(subscript), f"{target.value} = {target.value}[{index.value}]")
            yield edits
            break
