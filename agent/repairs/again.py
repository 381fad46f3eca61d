"""Repairs of batches that are kept or begun anew out of sight: caches, guards, generators, fixed places of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only, positional, targets
from aitia.agent.repairs.batches import ENDLESS, SUMMARY, _loops, _trains
from aitia.agent.repairs.flow import definitions, own_functions
from aitia.agent.repairs.source import number

CACHES = re.compile(r"\b(lru_cache|cache|cached_property|memoize)\b")
HELD_OUT = re.compile(r"(?i)val|test|eval|dev|hold")
LISTS = ("list", "tuple", "islice", "sorted")
RANGES = ("range", "arange")
Loop = cst.For | cst.While


def batch_kept(accused: Accused) -> Iterator[Patch]:
    """Where the first batch is kept by a guard or a cache, it is not enough to ask for the next one there."""
    for source in accused.sources:
        for edits in _kept_behind_a_guard(source):
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch


def batch_again(accused: Accused) -> Iterator[Patch]:
    """Each way in which the first batch comes back although the line that takes it looks innocent."""
    for source in accused.sources:
        for edits in (*_at_a_fixed_place(source), *_first_of_a_list(source), *_same_rows(source),
                      *_same_samples(source), *_fed_by_a_loader(source)):  # fmt: skip
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch


def _kept_behind_a_guard(source: Source) -> Iterator[Edits]:
    """`if self.batch is None: self.batch = next(iter(loader))`, a cached function, or a generator made anew."""
    for call in source.calls("next"):
        first = positional(call)[0].value if positional(call) else None
        endless = _endless(source, first)
        if first is None or endless is None:
            continue
        edits, statement, function = Edits(source), source.statement(call), source.function(call)
        guard = source.enclosing(statement, (cst.If, cst.For, cst.While, cst.FunctionDef))
        loop = source.loop(call)
        while loop is not None and (outer := source.loop(loop)) is not None:
            loop = outer
        where = guard if isinstance(guard, cst.If) and guard.orelse is None else statement
        cached = [d for d in function.decorators if CACHES.search(source.code(d))] if function is not None else []
        generated = isinstance(first, cst.Call) and last_name(first.func) != "iter"
        if where is statement and not cached and not generated:
            continue
        if loop is not None:
            holder, prepared = "batches", list[str]()
            edits.before(loop, f"batches = {endless}  # pass after pass")
        elif function is not None:
            owner = next((p.name.value for p in function.params.params), "")
            holder = "self._batches" if owner == "self" else f"{function.name.value}.batches"
            on, name = holder.rsplit(".", 1)
            prepared = [f'if not hasattr({on}, "{name}"):', f"    {holder} = {endless}  # pass after pass"]
        else:
            continue
        if isinstance(where, cst.If):
            start, end = source.span(first)
            at = source.offset(source.line(where)), source.offset(source.last_line(where) + 1)
            body = f"{source.text[at[0] : start]}{holder}{source.text[end : at[1]]}".splitlines()[1:]
            inner = len(source.indent(where.body.body[0])) if isinstance(where.body, cst.IndentedBlock) else 0
            indent = source.indent(where)
            lines = [f"{indent}{x}" for x in prepared] + [indent + x[inner:] for x in body]
            if not inner:
                continue
            edits.cut(*at, "".join(x + source.newline for x in lines))
        else:
            edits.before(statement, *prepared)
            edits.replace(first, holder)
        for decorator in cached:
            line = source.line(decorator)
            edits.cut(source.offset(line), source.offset(line + 1))
        yield edits


def _endless(source: Source, node: cst.BaseExpression | None) -> str | None:
    """Pass after pass of what `next` was asked of, where that is made for this one question."""
    if not isinstance(node, cst.Call):
        return None
    if last_name(node.func) == "iter" and node.args:
        return ENDLESS.format(source.code(node.args[0].value))
    made = own_functions(source, node)
    return ENDLESS.format(source.code(node)) if any(True for f in made for _ in source.nodes(cst.Yield, f)) else None


def _at_a_fixed_place(source: Source) -> Iterator[Edits]:
    """`batches[step]` with a number that stays: the place moves with the loop around it."""
    for loop in _loops(source):
        if not _trains(source, loop.body):
            continue
        changed = {source.code(a.target) for a in source.nodes(cst.AugAssign, loop.body)}
        changed |= {source.code(t.target) for a in source.nodes(cst.Assign, loop.body) for t in a.targets}
        for subscript in source.nodes(cst.Subscript, loop.body):
            inner = subscript.slice[0].slice if len(subscript.slice) == 1 else None
            if not isinstance(inner, cst.Index) or source.loop(subscript) is not loop:
                continue
            counter = _counter(loop)
            names = {n.value for n in source.nodes(cst.Name, inner)}
            if names & changed or counter in names or not _is_list(source, subscript.value):
                continue
            base = source.code(subscript.value)
            if counter is not None:
                edits = Edits(source)
                edits.replace(inner.value, f"{counter} % len({base})")
                yield edits
            step, edits = source.code(inner.value), Edits(source)
            if isinstance(inner.value, cst.Name) and isinstance(loop, cst.While):
                edits.replace(inner.value, f"{step} % len({base})")
                last = loop.body.body[-1] if isinstance(loop.body, cst.IndentedBlock) else None
                if isinstance(last, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                    edits.after(last, f"{step} += 1")
                    yield edits


def _counter(loop: Loop) -> str | None:
    over = loop.iter if isinstance(loop, cst.For) else None
    name = last_name(over.func) if isinstance(over, cst.Call) else ""
    target: cst.BaseExpression | None = loop.target if isinstance(loop, cst.For) else None
    if name == "enumerate" and isinstance(target, cst.Tuple):
        target = target.elements[0].value
    return target.value if name in {"range", "trange", "enumerate"} and isinstance(target, cst.Name) else None


def _is_list(source: Source, node: cst.BaseExpression) -> bool:
    """Whether this is a list of batches: made of a loader, or filled in a loop."""
    made = [a.value for a in definitions(source, node)] if isinstance(node, (cst.Name, cst.Attribute)) else []
    return any(isinstance(m, cst.ListComp) or (isinstance(m, cst.Call) and last_name(m.func) in LISTS) for m in made)


def _first_of_a_list(source: Source) -> Iterator[Edits]:
    """A list that holds one batch, `list(islice(loader, 1))` or `[next(iter(loader))] * n`: the loader itself."""
    for assign in source.nodes(cst.Assign):
        value = assign.value
        one = [c for c in source.calls("islice", within=value) if len(positional(c)) > 1
               and number(positional(c)[1].value) == 1]  # fmt: skip
        one += [c for c in source.calls("iter", within=value) if isinstance(value, (cst.List, cst.BinaryOperation))]
        cut = value.slice[0].slice if isinstance(value, cst.Subscript) and len(value.slice) == 1 else None
        if isinstance(cut, cst.Slice) and cut.upper is not None and number(cut.upper) == 1:
            one += source.calls("list", within=value)
        if one and positional(one[0]):
            loaded = positional(one[0])[0].value
            inner = isinstance(loaded, cst.Call) and last_name(loaded.func) == "iter" and loaded.args
            edits = Edits(source)
            whole = loaded.args[0].value if inner and isinstance(loaded, cst.Call) else loaded
            edits.replace(value, source.code(whole))
            yield edits
    for loop in source.nodes(cst.For):
        if isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "islice" and _trains(source, loop.body):
            edits = Edits(source)
            edits.replace(loop.iter, source.code(positional(loop.iter)[0].value))
            yield edits


def _same_rows(source: Source) -> Iterator[Edits]:
    """Rows that are named without the place that is asked for, in a loop of starts."""
    for loop in source.nodes(cst.For):
        over, start = loop.iter, loop.target
        stepped = isinstance(over, cst.Call) and last_name(over.func) in RANGES and len(positional(over)) == 3
        if not stepped or not isinstance(start, cst.Name):
            continue
        if any(n.value == start.value for n in source.nodes(cst.Name, loop.body)):
            continue
        edits = Edits(source)
        for call in source.calls(*RANGES, within=loop.body):
            given = [a.value for a in positional(call)]
            if len(given) == 1 or (len(given) == 2 and number(given[0]) == 0):
                size = source.atom(given[-1])
                inside = f"{source.code(call.func)}({start.value}, {start.value} + {size})"
                edits.replace(call, inside)
        yield edits


def _same_samples(source: Source) -> Iterator[Edits]:
    """`__getitem__` that looks up another place than the one that is asked for."""
    for function in source.nodes(cst.FunctionDef):
        params = [p.name.value for p in function.params.params if p.name.value != "self"]
        if function.name.value != "__getitem__" or not params:
            continue
        edits = Edits(source)
        for node in source.nodes(cst.BinaryOperation, function.body):
            if isinstance(node.operator, (cst.Modulo, cst.FloorDivide)) and source.code(node.left) == params[0]:
                edits.replace(node, params[0])
        for call in source.calls("min", within=function.body):
            if any(source.code(a.value) == params[0] for a in positional(call)):
                edits.replace(call, params[0])
        for subscript in source.nodes(cst.Subscript, function.body):
            inner = subscript.slice[0].slice if subscript.slice else None
            plain = isinstance(inner, cst.Index) and (
                number(inner.value) is not None or source.code(inner.value).startswith("self.")
            )
            if plain and isinstance(inner, cst.Index) and source.code(subscript.value).startswith("self."):
                edits.replace(inner.value, params[0])
        yield edits


def _fed_by_a_loader(source: Source) -> Iterator[Edits]:
    """Whatever a round of training takes as its batch comes from the loader that the program has made."""
    for loop in _loops(source):
        if not _trains(source, loop.body) or any(_trains(source, x.body) for x in _loops(source, loop.body)):
            continue
        for assign in source.nodes(cst.Assign, loop.body):
            names = targets(source, assign.value)
            pair = len(names) == 1 and isinstance(names[0], cst.Tuple) and len(names[0].elements) == 2
            taken = isinstance(assign.value, (cst.Name, cst.Attribute, cst.Subscript))
            if not pair or not taken or only(source.statement(assign)) is None:
                continue
            for loader in _loaders(source, loop):
                around, edits = loop, Edits(source)
                while (outer := source.loop(around)) is not None:
                    around = outer
                edits.before(around, f"stream = {ENDLESS.format(loader)}  # pass after pass")
                edits.replace(assign.value, "next(stream)")
                yield edits


def _loaders(source: Source, loop: Loop) -> list[str]:
    """Names of loaders that a loop can reach, those of training first."""
    made = [t for c in source.calls("DataLoader") for t in targets(source, c)]
    found = [source.code(t) for t in made if source.scope(t) in {source.scope(loop), source.module}]
    owner = source.function(loop)
    params = [p.name.value for p in owner.params.params] if owner is not None else []
    found += [p for p in params if "loader" in p.lower()]
    found += [source.code(t) for t in made if receiver_is_self(t) and "self" in params]
    return sorted(dict.fromkeys(f for f in found if not HELD_OUT.search(f)), key=lambda f: "train" not in f.lower())


def receiver_is_self(node: cst.BaseExpression) -> bool:
    """Whether this is an attribute of the object itself."""
    return isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self"
