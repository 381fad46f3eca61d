"""Repairs of losses that are summed in several places: all averaged, or the whole divided."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.flow import backward_roots, definitions, made_of
from aitia.agent.repairs.source import argument
from aitia.agent.repairs.summed import LIBRARIES, SUMMARY, _is_sum, reduction_scale

FLAT = re.compile(r"\.(flatten|reshape|view|view_as)\(")
Shaped = cst.Name | cst.Attribute


def summed_anywhere(accused: Accused) -> list[Patch]:
    """One sum is averaged where it stands; of several, the whole is divided, or all of them are averaged."""
    plain, several = reduction_scale(accused), False
    whole, means = list[Patch](), list[Patch]()
    for source in accused.sources:
        flow = _flow(source)
        sums = [c for v in flow for c in _sums(source, v)]
        several = several or len(set(sums)) > 1
        for edits in _divided(accused, source):
            whole += [p] if (p := accused.patch(SUMMARY, edits)) is not None else []
        for edits in (_averaged(source, sums), _named_sum(source)):
            means += [p] if (p := accused.patch(SUMMARY, edits)) is not None else []
    found = [*whole[:2], *means, *plain] if several else [*plain[:2], *means, *whole, *plain[2:]]
    return [p for n, p in enumerate(found) if p.files not in [q.files for q in found[:n]]]


def _flow(source: Source) -> list[cst.BaseExpression]:
    return [v for root in backward_roots(source) for v in made_of(source, root)]


def _sums(source: Source, value: cst.BaseExpression) -> Iterator[cst.Call]:
    """Sums over tensors, and losses that sum; none that something is divided by."""
    for call in source.nodes(cst.Call, value):
        given = keyword(call, "reduction")
        told = given is not None and _is_sum(source, given.value)
        added = last_name(call.func) == "sum" and receiver(call) is not None and not _divides(source, call)
        if told or added:
            yield call


def _divides(source: Source, call: cst.Call) -> bool:
    at: cst.CSTNode | None = call
    while at is not None and not isinstance(at, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
        around = source.parent(at)
        if isinstance(around, cst.BinaryOperation) and isinstance(around.operator, cst.Divide) and around.right is at:
            return True
        at = around
    return False


def _averaged(source: Source, sums: list[cst.Call]) -> Edits:
    """Every one of these sums becomes a mean over the same."""
    edits = Edits(source)
    for call in dict.fromkeys(sums):
        given = keyword(call, "reduction")
        if given is not None:
            edits.replace(given.value, source.code(given.value).replace("sum", "mean"))
        else:
            _, end = source.span(call.func)
            edits.cut(end - len("sum"), end, "mean")
    return edits


def _named_sum(source: Source) -> Edits:
    """`"sum"` among the settings, where a loss takes its reduction from there."""
    edits = Edits(source)
    taken = [a for c in source.nodes(cst.Call) if (a := keyword(c, "reduction")) is not None]
    if not any(not isinstance(a.value, cst.SimpleString) for a in taken):
        return edits
    values: list[cst.BaseExpression] = [e.value for d in source.nodes(cst.Dict) for e in d.elements]
    values += [a.value for c in source.nodes(cst.Call) for a in c.args]
    values += [a.value for a in source.nodes(cst.Assign)]
    values += [a.value for a in source.nodes(cst.AnnAssign) if a.value is not None]
    values += [p.default for p in source.nodes(cst.Param) if p.default is not None]
    for value in dict.fromkeys(values):
        if _is_sum(source, value):
            edits.replace(value, source.code(value).replace("sum", "mean"))
    return edits


def _divided(accused: Accused, source: Source) -> Iterator[Edits]:
    """What goes into backward, divided by the number of samples or of targets."""
    for root in backward_roots(source):
        counts = _counts(accused, source, root)
        for count in counts:
            edits, statement = Edits(source), source.statement(root)
            if isinstance(root, (cst.Name, cst.Attribute)):
                made = [a for a in definitions(source, root) if source.line(a) < source.line(statement)]
                at = source.statement(made[-1]) if made else None
                near = at is not None and at in source.block(statement)
                name = source.code(root)
                edits.before(statement, f"{name} = {name} / {count}")
                if near and isinstance(made[-1], cst.Assign) and made[-1].value is not None:
                    edits = Edits(source)
                    edits.replace(made[-1].value, f"{source.atom(made[-1].value)} / {count}")
            else:
                edits.replace(root, f"({source.atom(root)} / {count})")
            yield edits


def _counts(accused: Accused, source: Source, root: cst.BaseExpression) -> list[str]:
    """How the number of samples, or of single targets, is written at a backward."""
    scope: cst.CSTNode = source.loop(root) or source.scope(root)
    nodes = [root, *(a.value for a in definitions(source, root) if a.value is not None)]
    calls = [c for n in nodes for c in source.nodes(cst.Call, n)]
    found, flat = list[str](), False
    for call in [*calls, *accused.forwards(source, scope)]:
        target = argument(call, 1, "target", "labels") if call in calls else None
        given = target if target is not None else next((a.value for a in positional(call)), None)
        if given is None or source.code(given) == "self":
            continue
        text = source.code(given)
        flat = flat or (target is not None and bool(FLAT.search(text)))
        base: cst.BaseExpression = given
        while isinstance(base, cst.Call) and (on := receiver(base)) is not None and source.code(on) not in LIBRARIES:
            base = on
        if isinstance(base, cst.Subscript) and FLAT.search(text) is None:
            inner = base.slice[0].slice if len(base.slice) == 1 else None
            if isinstance(inner, cst.Index) and isinstance(inner.value, cst.Name):
                found.append(f"len({inner.value.value})")
        if isinstance(base, Shaped | cst.Subscript):
            name = source.code(base)
            found += [f"{name}.numel()"] if target is not None else []
            found += [f"len({name})"]
    return sorted(dict.fromkeys(found), key=lambda c: ("numel" in c) != flat)[:2]
