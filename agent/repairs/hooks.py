"""Repairs of hooks that are registered again and again: taken away after use, or registered once."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only, receiver, targets
from aitia.agent.repairs.source import LOOPS, Statement

REGISTERING = (
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_hook",
    "register_full_backward_pre_hook", "register_backward_hook",
)  # fmt: skip
AWAY = "take the hooks away after use"
ONCE = "register the hooks once, before training"


def hooks_accumulate(accused: Accused) -> Iterator[Patch]:
    """Hooks in a loop move before it or go at its end; those of a function at its end; an object's after its use."""
    for source in accused.sources:
        for call in source.calls(*REGISTERING):
            loop, function = trains(source, call), source.function(call)
            if loop is not None:
                yield from _out_of(accused, source, loop, source.statement(call), call)
            elif function is not None:
                owner = source.enclosing(function, (cst.ClassDef,))
                if isinstance(owner, cst.ClassDef) and function.name.value == "__init__":
                    yield from _after_the_object(accused, source, owner, call)
                elif function.name.value == "forward" and isinstance(owner, cst.ClassDef):
                    yield from _into_init(accused, source, owner, call)
                    yield from _at_the_end(accused, source, function, call)
                elif any("contextmanager" in source.code(d) for d in function.decorators):
                    yield from _behind_the_yield(accused, source, function, call)
                else:
                    yield from _at_the_end(accused, source, function, call)
                    for use in source.calls(function.name.value):
                        if (around := trains(source, use)) is not None:
                            yield from _closed(accused, source, owner, (function, use), around)
                            yield from _out_of(accused, source, around, source.statement(use), None)


def trains(source: Source, node: cst.CSTNode) -> cst.For | cst.While | None:
    """The innermost loop around a node in which training happens; also one that only counts passes."""
    loop = source.loop(node)
    while loop is not None and not _training(source, loop):
        loop = source.loop(loop)
    return loop


def _training(source: Source, loop: cst.CSTNode) -> bool:
    names = {f.name.value for f in source.nodes(cst.FunctionDef) if source.calls("backward", within=f)}
    return bool(source.calls("backward", "step", *names, within=loop))


def _out_of(
    accused: Accused, source: Source, loop: cst.For | cst.While, statement: Statement, call: cst.Call | None
) -> Iterator[Patch]:
    """Moved before the outermost loop whose names it does not need; else each round takes its hook away."""
    while source.loop(statement) is not None and source.loop(statement) is not loop:
        inner = source.loop(statement)
        assert inner is not None
        statement = inner
    needed = {n.value for n in source.nodes(cst.Name, statement)}
    outer, place = loop, None
    while outer is not None:
        assigned = [t.target for a in source.nodes(cst.Assign, outer) for t in a.targets]
        set_here = {
            n.value for t in assigned if isinstance(t, (cst.Name, cst.Tuple)) for n in source.nodes(cst.Name, t)
        }  # fmt: skip
        if isinstance(outer, cst.For):
            set_here |= {n.value for n in source.nodes(cst.Name, outer.target)}
        own = {n.value for a in source.nodes(cst.For, statement) for n in source.nodes(cst.Name, a.target)}
        own |= {
            n.value for a in source.nodes(cst.Assign, statement) for n in source.nodes(cst.Name, a.targets[0].target)
        }
        if needed & (set_here - own):
            break
        place, outer = outer, source.loop(outer)  # type: ignore[assignment]  # ends with None
    used = {n.value for n in source.nodes(cst.Name, loop)}
    bare = isinstance(only(statement), cst.Expr) or isinstance(statement, LOOPS)
    asked = {source.code(t) for t in (targets(source, call) if call is not None else [])} & used
    if place is not None and (bare or asked) and not _calls_of_printing(statement):
        edits = Edits(source)
        edits.before(place, *edits.lines(statement))
        edits.remove(statement)
        patch = accused.patch(ONCE, edits)
        if patch is not None:
            yield patch
    if call is not None and (patch := _each_round(accused, source, loop, call)) is not None:
        yield patch


def _closed(
    accused: Accused, source: Source, owner: cst.CSTNode | None, asked: tuple[cst.FunctionDef, cst.Call],
    loop: cst.For | cst.While,
) -> Iterator[Patch]:  # fmt: skip
    """An object that can take its hooks away is told to, at the end of the round that let it register them."""
    methods = list(source.nodes(cst.FunctionDef, owner)) if owner is not None else []
    closing = [m.name.value for m in methods if m is not asked[0] and source.calls("remove", within=m)]
    on, last = receiver(asked[1]), _last(loop)
    if closing and on is not None and last is not None and not source.calls(*closing):
        edits = Edits(source)
        edits.after(last, f"{source.code(on)}.{closing[0]}()")
        patch = accused.patch(AWAY, edits)
        if patch is not None:
            yield patch


def _last(loop: cst.For | cst.While) -> Statement | None:
    body = loop.body.body if isinstance(loop.body, cst.IndentedBlock) else ()
    return next(
        (s for s in reversed(body) if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))), None
    )


def _calls_of_printing(statement: Statement) -> bool:
    small = only(statement)
    return isinstance(small, cst.Expr) and isinstance(small.value, cst.Call) and (
        isinstance(small.value.func, cst.Name) and small.value.func.value == "print"
    )  # fmt: skip


def _each_round(accused: Accused, source: Source, loop: cst.For | cst.While, call: cst.Call) -> Patch | None:
    names, statement, edits = targets(source, call), source.statement(call), Edits(source)
    last = _last(loop)
    if last is None or source.loop(call) is not loop:
        return None
    name = source.code(names[0]) if len(names) == 1 and isinstance(names[0], (cst.Name, cst.Attribute)) else None
    if name is None:
        if not isinstance(only(statement), cst.Expr) or not isinstance(source.parent(call), cst.Expr):
            return None
        name = "handle"
        start, _ = source.span(call)
        edits.cut(start, start, f"{name} = ")
    edits.after(last, f"{name}.remove()")
    return accused.patch(AWAY, edits)


def _at_the_end(accused: Accused, source: Source, function: cst.FunctionDef, call: cst.Call) -> Iterator[Patch]:
    """A function that registers hooks, runs the model and reads what they saw takes them away before it ends."""
    body = [s for s in function.body.body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
    if not isinstance(function.body, cst.IndentedBlock) or not any(accused.forwards(source, function)):
        return
    edits, first, last = Edits(source), body[0], body[-1]
    if isinstance(source.parent(call), cst.Expr):
        edits.before(first, "handles = []")
        for hook in source.calls(*REGISTERING, within=function):
            if isinstance(source.parent(hook), cst.Expr):
                start, end = source.span(hook)
                edits.cut(start, start, "handles.append(")
                edits.cut(end, end, ")")
        held = "handles"
    else:
        names = targets(source, call)
        if len(names) != 1 or not isinstance(names[0], cst.Name):
            return
        held = names[0].value
    comprehended = isinstance(source.enclosing(call, (cst.ListComp, cst.Assign)), cst.ListComp)
    single = held != "handles" and not comprehended
    lines = (f"{held}.remove()",) if single else (f"for handle in {held}:", "    handle.remove()")
    returns = isinstance(last, cst.SimpleStatementLine) and any(isinstance(x, cst.Return) for x in last.body)
    if returns and any(True for c in source.nodes(cst.Call, last) if c in list(accused.forwards(source, last))):
        edits.before(last, f"result = {source.text[slice(*_returned(source, last))]}", *lines)
        edits.cut(*_returned(source, last), "result")
    elif returns:
        edits.before(last, *lines)
    else:
        edits.after(last, *lines)
    patch = accused.patch(AWAY, edits)
    if patch is not None:
        yield patch


def _into_init(accused: Accused, source: Source, owner: cst.ClassDef, call: cst.Call) -> Iterator[Patch]:
    """What a forward registers on the module's own parts belongs where those are made."""
    statement = source.statement(call)
    made = next((f for f in source.nodes(cst.FunctionDef, owner.body) if f.name.value == "__init__"), None)
    body = made.body.body if made is not None and isinstance(made.body, cst.IndentedBlock) else ()
    last = body[-1] if body else None
    own = isinstance(only(statement), cst.Expr) and isinstance(source.parent(call), cst.Expr)
    lambdas = {p.name.value for u in source.nodes(cst.Lambda, call) for p in u.params.params}
    free = {source.code(n) for n in source.nodes(cst.Name, call)} - lambdas - {"self"}
    attributes = {n.attr.value for n in source.nodes(cst.Attribute, call)}
    if own and free <= attributes and isinstance(last, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
        edits = Edits(source)
        edits.after(last, *edits.lines(statement))
        edits.remove(statement)
        patch = accused.patch(ONCE, edits)
        if patch is not None:
            yield patch


def _behind_the_yield(accused: Accused, source: Source, function: cst.FunctionDef, call: cst.Call) -> Iterator[Patch]:
    """A context that registers a hook takes it away when it is left, also by an error."""
    given = [s for s in source.nodes(cst.SimpleStatementLine, function.body) if any(source.nodes(cst.Yield, s))]
    if len(given) != 1 or not isinstance(source.parent(call), (cst.Expr, cst.Assign, cst.Arg)):
        return
    edits, statement = Edits(source), source.statement(call)
    names = targets(source, call)
    looped, taken = source.loop(call) is not None, tuple[str, ...]()
    if isinstance(source.parent(call), cst.Expr):
        start, end = source.span(call)
        edits.cut(start, start, "handles.append(" if looped else "handle = ")
        if looped:
            edits.cut(end, end, ")")
            edits.before(source.loop(call) or statement, "handles = []")
        taken = ("for handle in handles:", "    handle.remove()") if looped else ("handle.remove()",)
    elif isinstance(source.parent(call), cst.Assign) and len(names) == 1 and not looped:
        taken = (f"{source.code(names[0])}.remove()",)
    elif isinstance(around := source.enclosing(call, (cst.Call,)), cst.Call) and last_name(around.func) == "append":
        kept = receiver(around)
        taken = (f"for handle in {source.code(kept)}:", "    handle.remove()") if kept is not None else ()
    else:
        return
    lines = edits.lines(given[0])
    start, end = source.offset(source.line(given[0])), source.offset(source.last_line(given[0]) + 1)
    indent = source.indent(given[0])
    block = ["try:", *(f"    {x}" for x in lines), "finally:", *(f"    {x}" for x in taken)]
    edits.cut(start, end, "".join(f"{indent}{x}{source.newline}" for x in block))
    patch = accused.patch(AWAY, edits)
    if patch is not None and taken:
        yield patch


def _returned(source: Source, statement: Statement) -> tuple[int, int]:
    found = next(source.nodes(cst.Return, statement))
    return source.span(found.value) if found.value is not None else source.span(found)


def _after_the_object(accused: Accused, source: Source, owner: cst.ClassDef, call: cst.Call) -> Iterator[Patch]:
    """An object that registers hooks when it is made loses them where it was used last."""
    held = [source.code(t) for t in targets(source, call) if source.code(t).startswith("self.")]
    closing = [f.name.value for f in source.nodes(cst.FunctionDef, owner) if source.calls("remove", within=f)]
    filled = [
        source.code(c.func) for c in source.calls("append", within=owner) if call in list(source.nodes(cst.Call, c))
    ]
    held += [f.removesuffix(".append") for f in filled if f.startswith("self.")]
    for made in source.calls(owner.name.value):
        names, statement = targets(source, made), source.statement(made)
        block = source.block(statement)
        if len(names) != 1 or statement not in block:
            continue
        name = source.code(names[0])
        last, edits = block[-1], Edits(source)
        single = not isinstance(source.enclosing(call, (cst.ListComp, cst.Assign)), cst.ListComp) and not filled
        if closing:
            lines: tuple[str, ...] = (f"{name}.{closing[0]}()",)
        elif held:
            path = name + held[0].removeprefix("self")
            lines = (f"{path}.remove()",) if single else (f"for handle in {path}:", "    handle.remove()")
        else:
            continue
        returns = isinstance(last, cst.SimpleStatementLine) and any(isinstance(x, cst.Return) for x in last.body)
        (edits.before if returns else edits.after)(last, *lines)
        patch = accused.patch(AWAY, edits)
        if patch is not None:
            yield patch
