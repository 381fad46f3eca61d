"""Repairs of a graph that is needed again after it was freed, where no plain state is carried from batch to batch."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only, receiver
from aitia.agent.repairs.source import LOOPS, Statement


def graph_again(accused: Accused) -> Iterator[Patch]:
    """States in tuples and attributes are cut; what was computed before the loop moves in; losses go back together."""
    for source in accused.sources:
        for find in (_pairs, _remembered, _summed_on, _one_by_one, _computed_before):
            yield from find(accused, source)


def _pairs(accused: Accused, source: Source) -> Iterator[Patch]:
    """`out, (h, c) = net(x, (h, c))`."""
    for assign in source.nodes(cst.Assign):
        loop, target = source.loop(assign), assign.targets[0].target
        if loop is None or not isinstance(target, cst.Tuple) or not isinstance(assign.value, cst.Call):
            continue
        nested = [e.value for x in target.elements if isinstance(x.value, cst.Tuple) for e in x.value.elements]
        given = {source.code(n) for a in assign.value.args for n in source.nodes(cst.Name, a)}
        names = [source.code(n) for n in nested if source.code(n) in given]
        if not names:
            continue
        edits = Edits(source)
        edits.before(source.statement(assign), f"{', '.join(names)} = {', '.join(f'{n}.detach()' for n in names)}")
        patch = accused.patch(f"detach {' and '.join(names)} before the next batch uses them", edits)
        if patch is not None:
            yield patch


def _remembered(accused: Accused, source: Source) -> Iterator[Patch]:
    """`self.memory = h` in a method that began with `self.memory`."""
    for assign in source.nodes(cst.Assign):
        target, function = assign.targets[0].target, source.function(assign)
        name, value = source.code(target), assign.value
        if function is None or not isinstance(target, cst.Attribute) or not name.startswith("self."):
            continue
        owner = source.enclosing(function, (cst.ClassDef,))
        reads = [a for a in source.nodes(cst.Attribute, owner or function)
                 if source.code(a) == name and source.parent(a) is not assign.targets[0]]  # fmt: skip
        if not reads or function.name.value == "__init__":
            continue
        edits = Edits(source)
        if isinstance(value, cst.Tuple):
            for e in value.elements:
                edits.replace(e.value, f"{source.atom(e.value)}.detach()")
        elif isinstance(value, (cst.Name, cst.Subscript, cst.Call)) and source.code(value) != "None":
            pair = bool(source.calls("LSTM", "LSTMCell", within=owner or function))
            text = source.atom(value)
            edits.replace(value, f"tuple(s.detach() for s in {text})" if pair else f"{text}.detach()")
        patch = accused.patch(f"keep {name} without its graph", edits)
        if patch is not None:
            yield patch


def _summed_on(accused: Accused, source: Source) -> Iterator[Patch]:
    """`total += loss; total.backward()` in a loop: this batch's loss goes back, its value is summed."""
    for call in source.calls("backward"):
        on, loop = receiver(call), source.loop(call)
        if on is None or loop is None:
            continue
        for a in source.nodes(cst.AugAssign, loop):
            if source.code(a.target) != source.code(on) or source.line(a) > source.line(call):
                continue
            reset = [x for x in source.nodes(cst.Assign, loop) if source.code(x.targets[0].target) == source.code(on)]
            if reset and source.loop(reset[0]) is loop:
                continue
            edits = Edits(source)
            edits.replace(on, source.atom(a.value))
            edits.replace(a.value, f"{source.atom(a.value)}.detach()")
            patch = accused.patch("go backward from this batch's loss alone", edits)
            if patch is not None:
                yield patch


def _one_by_one(accused: Accused, source: Source) -> Iterator[Patch]:
    """`for l in losses: l.backward()` becomes one backward of the sum."""
    for loop in source.nodes(cst.For):
        body = [s for s in loop.body.body if isinstance(s, cst.SimpleStatementLine)]
        small = only(body[0]) if len(body) == 1 and len(loop.body.body) == 1 else None
        call = small.value if isinstance(small, cst.Expr) else None
        if (
            not isinstance(call, cst.Call)
            or last_name(call.func) != "backward"
            or not isinstance(loop.target, cst.Name)
        ):
            continue
        on = receiver(call)
        if on is None or source.code(on) != loop.target.value:
            continue
        edits = Edits(source)
        start = source.offset(source.line(loop))
        end = source.offset(source.last_line(loop) + 1)
        over = source.code(loop.iter)
        over = f"({over})" if isinstance(loop.iter, cst.Tuple) and not over.startswith("(") else over
        edits.cut(start, end, f"{source.indent(loop)}sum({over}).backward(){source.newline}")
        patch = accused.patch("go backward once, from the sum of the losses", edits)
        if patch is not None:
            yield patch


def _computed_before(accused: Accused, source: Source) -> Iterator[Patch]:
    """What is computed from parameters before the loop is computed anew for each batch."""
    learned = _learned(source)
    for call in source.calls("backward"):
        loop = source.loop(call)
        outer = loop
        while outer is not None and (around := source.loop(outer)) is not None:
            outer = around
        if loop is None or outer is None:
            continue
        block = source.block(outer)
        used = {n.value for n in source.nodes(cst.Name, outer)}
        for s in block[: block.index(outer)] if outer in block else []:
            small = only(s)
            if not isinstance(small, cst.Assign) or not isinstance(small.targets[0].target, cst.Name):
                continue
            name = small.targets[0].target.value
            asked = {source.code(n) for n in (*source.nodes(cst.Name, small.value),
                                              *source.nodes(cst.Attribute, small.value))}  # fmt: skip
            built = isinstance(small.value, cst.Call) and (
                last_name(small.value.func)[:1].isupper()
                or last_name(small.value.func) in {"parameters", "list", "train"}
            )
            optimizing = any(source.calls("parameters", within=small.value))
            if name not in used or not asked & learned or built or optimizing:
                continue
            first = _first(loop)
            if first is None:
                continue
            edits = Edits(source)
            edits.remove(s)
            edits.before(first, *edits.lines(s))
            patch = accused.patch(f"compute {name} anew for each batch", edits)
            if patch is not None:
                yield patch


def _learned(source: Source) -> set[str]:
    """Names of modules and parameters."""
    found = set[str]()
    classes = {c.name.value for c in source.nodes(cst.ClassDef) if c.bases}
    for a in source.nodes(cst.Assign):
        if not isinstance(a.value, cst.Call):
            continue
        name = source.qualified(a.value.func) or source.code(a.value.func)
        learned = ("nn." in name and "functional" not in name) or last_name(a.value.func) in classes | {"Parameter"}
        tracked = any(k.keyword is not None and k.keyword.value == "requires_grad" for k in a.value.args)
        if learned or tracked:
            found.add(source.code(a.targets[0].target))
    return found


def _first(loop: cst.CSTNode) -> Statement | None:
    body = loop.body.body if isinstance(loop, LOOPS) and isinstance(loop.body, cst.IndentedBlock) else ()
    return next((s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))), None)
