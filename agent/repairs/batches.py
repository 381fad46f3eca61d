"""Repairs of training that sees one batch over and over: it goes on to the next one."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    is_expression,
    last_name,
    only,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.flow import definitions
from aitia.agent.repairs.source import LOOPS, number

SUMMARY = "take the next batch instead of the same one again"
ENDLESS = "(batch for _ in iter(int, 1) for batch in {0})"
"""Pass after pass over a loader, which draws a new order for each."""
SEEDS = ("manual_seed", "seed", "default_rng", "RandomState", "seed_all", "set_seed", "seed_everything")
DRAWS = re.compile(r"\b(randperm|permutation|randint|choice|sample|integers)\(")


def repeated_batch(accused: Accused) -> list[Patch]:
    """Every way in which a loop keeps to one batch: taken before it, begun anew, left early, drawn with one seed."""
    found: list[Patch] = []
    for source in accused.sources:
        edits = [*_repeated(source), *_taken_before(source), *_begun_anew(source), *_first_returned(source),
                 *_left_early(source), *_same_slice(source), *_same_seed(source), *_drawn_before(source)]  # fmt: skip
        found += [p for e in edits if (p := accused.patch(SUMMARY, e)) is not None]
    return found


def _trains(source: Source, node: cst.CSTNode) -> bool:
    """Whether a loop trains, itself or in a function of the program that it calls."""
    if source.calls("backward", "step", within=node):
        return True
    called = {last_name(c.func) for c in source.nodes(cst.Call, node)}
    own = [f for f in source.nodes(cst.FunctionDef) if f.name.value in called]
    return any(source.calls("backward", "step", within=f.body) for f in own)


def _innermost(source: Source, loops: list[cst.For | cst.While]) -> cst.For | cst.While | None:
    training = [x for x in loops if _trains(source, x.body)]
    return max(training, key=source.line, default=None)


def _loops(source: Source, within: cst.CSTNode | None = None) -> list[cst.For | cst.While]:
    return [*source.nodes(cst.For, within), *source.nodes(cst.While, within)]


def _taken_before(source: Source) -> list[Edits]:
    """`x, y = next(iter(loader))` before the loop over the steps: taken inside of it."""
    found = []
    for call in source.calls("next"):
        first = positional(call)[0].value if positional(call) else None
        statement, names = source.statement(call), targets(source, call)
        if (
            first is None
            or source.loop(call) is not None
            or len(names) != 1
            or not isinstance(only(statement), cst.Assign)
        ):
            continue
        loader = _iterated(source, first)
        taken = names[0]
        if loader is None:
            continue
        scope = source.module if isinstance(taken, cst.Attribute) else source.scope(call)
        used = [e.value for e in taken.elements] if isinstance(taken, cst.Tuple) else [taken]
        texts = {source.code(u) for u in used}
        loops = [
            x for x in _loops(source, scope) if source.line(x) > source.line(call) or isinstance(taken, cst.Attribute)
        ]
        loops = [x for x in loops if texts & {source.code(n) for n in _named(source, x.body)}]
        loop = _innermost(source, loops)
        body = loop.body.body if loop is not None and isinstance(loop.body, cst.IndentedBlock) else ()
        inside = next((s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))), None)
        if inside is None:
            continue
        holder = "self.batches" if isinstance(taken, cst.Attribute) else "batches"
        edits = Edits(source)
        edits.before(statement, f"{holder} = {ENDLESS.format(loader)}  # pass after pass")
        edits.remove(statement)
        edits.before(inside, f"{source.code(taken)} = next({holder})")
        found.append(edits)
    return found


def _repeated(source: Source) -> list[Edits]:
    """`itertools.repeat(next(iter(loader)))`, also of a list with that batch: pass after pass instead."""
    found = []
    for call in source.calls("repeat", "cycle"):
        inner = source.calls("next", within=call)
        loader = _iterated(source, positional(inner[0])[0].value) if inner and positional(inner[0]) else None
        if loader is not None:
            edits = Edits(source)
            edits.replace(call, ENDLESS.format(loader))
            found.append(edits)
    return found


def _first_returned(source: Source) -> list[Edits]:
    """A function that returns the first batch of a loop over the loader, each time: the next one, pass after pass."""
    found = []
    for loop in source.nodes(cst.For):
        body, function = (loop.body.body if isinstance(loop.body, cst.IndentedBlock) else ()), source.function(loop)
        last = only(body[0]) if len(body) == 1 and isinstance(body[0], cst.SimpleStatementLine) else None
        if function is None or not isinstance(last, cst.Return) or last.value is None:
            continue
        if source.code(last.value) != source.code(loop.target):
            continue
        name, edits, indent = function.name.value, Edits(source), source.indent(loop)
        holder = (
            "self._batches" if [p.name.value for p in function.params.params][:1] == ["self"] else f"{name}.batches"
        )
        on, attribute = holder.rsplit(".", 1)
        lines = [f'if not hasattr({on}, "{attribute}"):', f"    {holder} = {ENDLESS.format(source.code(loop.iter))}",
                 f"return next({holder})"]  # fmt: skip
        start, end = source.offset(source.line(loop)), source.offset(source.last_line(loop) + 1)
        edits.cut(start, end, "".join(f"{indent}{line}{source.newline}" for line in lines))
        found.append(edits)
    return found


def _named(source: Source, node: cst.CSTNode) -> list[cst.CSTNode]:
    return [*source.nodes(cst.Name, node), *source.nodes(cst.Attribute, node)]


def _iterated(source: Source, node: cst.BaseExpression) -> str | None:
    """`loader` of `iter(loader)`, also where that has a name."""
    if isinstance(node, cst.Call) and last_name(node.func) == "iter" and node.args:
        return source.code(node.args[0].value)
    made = definitions(source, node) if isinstance(node, (cst.Name, cst.Attribute)) else []
    value = made[-1].value if made else None
    return _iterated(source, value) if isinstance(value, cst.Call) and last_name(value.func) == "iter" else None


def _begun_anew(source: Source) -> list[Edits]:
    """`it = iter(loader)` right before `next(it)`, each time: kept from one call to the next."""
    found = []
    for call in source.calls("iter"):
        statement, names = source.statement(call), targets(source, call)
        if len(names) != 1 or not isinstance(only(statement), cst.Assign) or not call.args:
            continue
        name, loader, loop = source.code(names[0]), source.code(call.args[0].value), source.loop(call)
        function = source.function(call)
        taken = [c for c in source.calls("next", within=source.scope(call)) if positional(c)
                 and source.code(positional(c)[0].value) == name and source.line(c) >= source.line(call)]  # fmt: skip
        if not taken or source.enclosing(call, (cst.ExceptHandler, cst.If)) is not None:
            continue
        endless, edits = ENDLESS.format(loader), Edits(source)
        if loop is not None and _trains(source, loop.body) and source.loop(taken[0]) is loop:
            while (outer := source.loop(loop)) is not None:
                loop = outer
            edits.before(loop, f"{name} = {endless}  # pass after pass")
            edits.remove(statement)
        elif function is not None and loop is None and source.loop(taken[0]) is None:
            others = [a for a in definitions(source, names[0]) if source.function(a) is not function]
            if isinstance(names[0], cst.Attribute) and others and others[0].value is not None:
                edits.replace(others[0].value, endless)
                edits.remove(statement)
            else:
                on, kept = (
                    ("self", name.removeprefix("self.")) if name.startswith("self.") else (function.name.value, name)
                )
                edits.before(
                    statement, f'if not hasattr({on}, "{kept}"):', f"    {on}.{kept} = {endless}  # pass after pass"
                )
                if on == "self":
                    edits.remove(statement)
                else:
                    edits.replace(call, f"{on}.{kept}")
        found.append(edits)
    return found


def _left_early(source: Source) -> list[Edits]:
    """A loop over batches that ends after the first: a `break` or a `return` at its end, or after a count."""
    found = []
    for loop in source.nodes(cst.For):
        if not isinstance(loop.body, cst.IndentedBlock) or not _trains(source, loop.body):
            continue
        counted = isinstance(loop.iter, cst.Call) and last_name(loop.iter.func) == "islice"
        if counted and isinstance(loop.iter, cst.Call) and positional(loop.iter):
            edits = Edits(source)
            edits.replace(loop.iter, source.code(positional(loop.iter)[0].value))
            found.append(edits)
        for statement in loop.body.body:
            inner = statement
            if (
                isinstance(statement, cst.If)
                and isinstance(statement.body, cst.IndentedBlock)
                and statement.orelse is None
            ):
                alone = statement.body.body
                small = any(n is not None and n <= 1 for n in map(number, source.nodes(cst.Integer, statement.test)))
                ahead = isinstance(statement.test, cst.Comparison) and small and len(alone) == 1
                inner = alone[0] if ahead else statement
            last = only(inner) if isinstance(inner, cst.SimpleStatementLine) else None
            edits = Edits(source)
            if isinstance(last, cst.Break) and isinstance(statement, (cst.SimpleStatementLine, cst.If)):
                edits.remove(statement)
                found.append(edits)
            elif isinstance(last, cst.Return) and statement is loop.body.body[-1] and statement is inner:
                lines = edits.lines(inner) if isinstance(inner, cst.SimpleStatementLine) else []
                edits.remove(statement) if isinstance(statement, cst.SimpleStatementLine) else None
                edits.after(loop, *lines)
                found.append(edits)
    return found


def _same_slice(source: Source) -> list[Edits]:
    """`order[:size]` in a loop that counts batches: the slice moves with the count."""
    found = []
    for loop in source.nodes(cst.For):
        over = loop.iter
        counts = isinstance(over, cst.Call) and last_name(over.func) == "range" and isinstance(loop.target, cst.Name)
        if not counts or not isinstance(over, cst.Call) or not isinstance(loop.target, cst.Name):
            continue
        name, edits = loop.target.value, Edits(source)
        stepped = len(positional(over)) == 3
        for node in source.nodes(cst.Subscript, loop.body):
            cut = node.slice[0].slice if node.slice else None
            begins = isinstance(cut, cst.Slice) and (cut.lower is None or number(cut.lower) == 0)
            if not begins or not isinstance(cut, cst.Slice) or cut.upper is None or number(cut.upper) in {-1.0}:
                continue
            size, base = source.code(cut.upper), source.code(node.value)
            if stepped:
                new = f"{name} : {name} + {size}"
            elif "//" in source.code(over):
                new = f"{name} * {size} : ({name} + 1) * {size}"
            else:
                new = f"({name} * {size}) % len({base}) : ({name} * {size}) % len({base}) + {size}"
            rest = ", ".join(source.code(e).rstrip(", ") for e in node.slice[1:])
            edits.replace(node, f"{base}[{new}{', ' + rest if rest else ''}]")
        if edits.result() is not None:
            found.append(edits)
    return found


def _same_seed(source: Source) -> list[Edits]:
    """A seed that is set in each round, so that each draws the same samples: set once, or not again."""
    found = []
    for call in source.calls(*SEEDS):
        statement, loop, function = source.statement(call), source.loop(call), source.function(call)
        again = loop if loop is not None and _trains(source, loop.body) else None
        drawn = (
            function is not None
            and bool(DRAWS.search(source.code(function)))
            and not source.calls("backward", within=function)
        )
        if again is None and not drawn:
            continue
        edits = Edits(source)
        if is_expression(statement):
            edits.remove(statement)
        elif again is not None and isinstance(only(statement), cst.Assign):
            edits.before(again, *edits.lines(statement))
            edits.remove(statement)
        elif (
            receiver(call) is not None
            and last_name(call.func) == "manual_seed"
            and last_name(receiver(call) or call) == ""
        ):
            continue
        else:
            continue
        found.append(edits)
    return found


def _drawn_before(source: Source) -> list[Edits]:
    """`picked = randperm(n)[:size]` before the loop that uses it: drawn in each round."""
    found = []
    for assign in source.nodes(cst.Assign):
        statement, target = source.statement(assign), assign.targets[0].target
        if not isinstance(assign.value, cst.Subscript) and not DRAWS.match(
            source.code(assign.value).rpartition(".")[2]
        ):
            continue
        if (
            source.loop(assign) is not None
            or not DRAWS.search(source.code(assign.value))
            or not isinstance(target, cst.Name)
        ):
            continue
        loops = [x for x in _loops(source, source.scope(assign)) if source.line(x) > source.line(assign) and any(
            n.value == target.value for n in source.nodes(cst.Name, x.body))]  # fmt: skip
        loop = _innermost(source, [x for x in loops if isinstance(x, LOOPS)])
        body = loop.body.body if loop is not None and isinstance(loop.body, cst.IndentedBlock) else ()
        inside = next((s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))), None)
        if inside is None or only(statement) is None:
            continue
        edits = Edits(source)
        edits.before(inside, *edits.lines(statement))
        edits.remove(statement)
        found.append(edits)
    return found
