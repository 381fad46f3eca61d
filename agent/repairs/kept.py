"""Repairs of values that are kept for reports together with the graph that made them."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, receiver

KEEPING = ("append", "appendleft", "update", "add", "extend", "setdefault", "insert", "put", "log")
SUMMARY = "keep the value without its graph"
HARMLESS = frozenset({"detach", "item", "float", "numpy", "tolist", "len", "int"})


def graph_kept(accused: Accused) -> Iterator[Patch]:
    """Where it is kept, all at once and one by one; behind the backward that needed the graph; what is averaged."""
    for source in accused.sources:
        lines = accused.lines(source)
        here = [k for k in kept(source) if source.line(k) in lines and not _free(source, k)]
        tracked = made_with_graph(source)
        edits = Edits(source)
        for node in here:
            _detach_names(source, edits, node, tracked)
        yield from _behind_backward(accused, source)
        first = accused.patch(SUMMARY, edits)
        if first is not None:
            yield first
        edits = Edits(source)
        for node in kept(source):
            if not _free(source, node):
                _detach_names(source, edits, node, tracked)
        patch = accused.patch(SUMMARY, edits)
        if patch is not None:
            yield patch
        for node in here:
            if isinstance(node, (cst.Name, cst.Attribute, cst.BinaryOperation, cst.Call, cst.Subscript)):
                edits = Edits(source)
                edits.replace(node, f"{source.atom(node)}.detach()")
                patch = accused.patch(SUMMARY, edits)
                if patch is not None:
                    yield patch


def kept(source: Source) -> list[cst.BaseExpression]:
    """What is put into lists, dictionaries, sums and averages that outlive a step."""
    found = [a.value for c in source.calls(*KEEPING) for a in c.args]
    found += [a.value for a in source.nodes(cst.AugAssign) if isinstance(a.operator, cst.AddAssign)]
    for a in source.nodes(cst.Assign):
        target = source.code(a.targets[0].target)
        names = {source.code(n) for n in (*source.nodes(cst.Name, a.value), *source.nodes(cst.Attribute, a.value))}
        grows = target in names and isinstance(a.value, (cst.BinaryOperation, cst.IfExp))
        if grows or isinstance(a.targets[0].target, cst.Subscript):
            found.append(a.value)
    return found


def made_with_graph(source: Source) -> set[str]:
    """Names of losses, of their parts, and of what is computed from them or goes into them."""
    roots = {source.code(r) for c in source.calls("backward") if (r := receiver(c)) is not None}
    assigns = [a for a in source.nodes(cst.Assign) if isinstance(a.targets[0].target, cst.Name)]
    for _ in range(3):
        for a in assigns:
            target = source.code(a.targets[0].target)
            names = {n.value for n in source.nodes(cst.Name, a.value)}
            calls = {last_name(c.func) for c in source.nodes(cst.Call, a.value)}
            into = target in roots and not calls & HARMLESS
            if names & roots and not calls & HARMLESS:
                roots.add(target)
            if into:
                roots |= {b for b in names if any(source.code(x.targets[0].target) == b and _computed(source, x)
                                                  for x in assigns)}  # fmt: skip
    return roots


def _computed(source: Source, assign: cst.Assign) -> bool:
    return any(True for _ in source.nodes(cst.Call, assign.value)) and source.loop(assign) is not None


def _detach_names(source: Source, edits: Edits, node: cst.CSTNode, tracked: set[str]) -> None:
    """Every loss in an expression loses its graph, where it is not part of a call that ends it anyway."""
    for name in source.nodes(cst.Name, node):
        around = source.parent(name)
        attribute = isinstance(around, (cst.Attribute, cst.Comparison))
        if name.value in tracked and not attribute and not _keyword(source, name):
            edits.replace(name, f"{name.value}.detach()")


def _keyword(source: Source, name: cst.Name) -> bool:
    around = source.parent(name)
    return isinstance(around, cst.Arg) and around.keyword is name


def _free(source: Source, node: cst.CSTNode) -> bool:
    return any(last_name(c.func) in HARMLESS for c in source.nodes(cst.Call, node))


def _behind_backward(accused: Accused, source: Source) -> Iterator[Patch]:
    """After `loss.backward()` nobody needs the graph: `loss = loss.detach()`."""
    edits = Edits(source)
    for call in source.calls("backward"):
        on, statement = receiver(call), source.statement(call)
        if isinstance(on, cst.Name) and isinstance(statement, cst.SimpleStatementLine) and not call.args:
            edits.after(statement, f"{on.value} = {on.value}.detach()")
    patch = accused.patch(SUMMARY, edits)
    if patch is not None:
        yield patch
