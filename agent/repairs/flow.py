"""Where a value comes from: assignments to its name, and what the program's own functions return."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Source, last_name, positional, receiver

DEPTH = 6
"""Hops from name to name that are followed; programs that hand a value on more often have a name for it."""


def backward_roots(source: Source) -> list[cst.BaseExpression]:
    """What gradients are computed of: `loss` of `loss.backward()` and of `scaler.scale(loss).backward()`."""
    found: list[cst.BaseExpression] = []
    for call in source.calls("backward"):
        on = receiver(call)
        first = next((a.value for a in positional(call)), None)
        if isinstance(on, cst.Call) and last_name(on.func) == "scale" and positional(on):
            found.append(positional(on)[0].value)
        elif on is not None and source.code(on) in {"accelerator", "self.accelerator", "fabric"} and first is not None:
            found.append(first)
        elif on is not None:
            found.append(on)
    return found


def definitions(source: Source, name: cst.BaseExpression) -> list[cst.Assign | cst.AnnAssign | cst.AugAssign]:
    """Statements that give a name its value, in the same function; of an attribute, anywhere."""
    text = source.code(name)
    scope = source.scope(name) if isinstance(name, cst.Name) else source.module
    found: list[cst.Assign | cst.AnnAssign | cst.AugAssign] = []
    for assign in source.nodes(cst.Assign, scope):
        elements: list[cst.BaseExpression] = [t.target for t in assign.targets]
        elements += [e.value for t in elements if isinstance(t, cst.Tuple) for e in t.elements]
        if any(source.code(e) == text for e in elements):
            found.append(assign)
    found += [a for a in source.nodes(cst.AnnAssign, scope) if source.code(a.target) == text and a.value is not None]
    found += [a for a in source.nodes(cst.AugAssign, scope) if source.code(a.target) == text]
    if not found and isinstance(name, cst.Name) and scope is not source.module:
        found += [
            a
            for a in source.nodes(cst.Assign)
            if source.function(a) is None and source.code(a.targets[0].target) == text
        ]
    return sorted(found, key=source.line)


def own_functions(source: Source, call: cst.Call) -> list[cst.FunctionDef]:
    """The program's functions that a call may mean, by name: `f(x)`, `self.f(x)`, `helper.f(x)`."""
    name, on = last_name(call.func), receiver(call)
    if on is not None and source.code(on) in {"torch", "F", "nn", "np", "functional"}:
        return []
    if isinstance(call.func, cst.Name):
        inside = [f for c in source.nodes(cst.ClassDef) if c.name.value == name
                  for f in source.nodes(cst.FunctionDef, c) if f.name.value == "forward"]  # fmt: skip
        if inside:
            return []
    return [f for f in source.nodes(cst.FunctionDef) if f.name.value == name]


def returned(source: Source, function: cst.FunctionDef) -> list[cst.BaseExpression]:
    """What a function returns; of a tuple, each element."""
    found: list[cst.BaseExpression] = []
    for statement in source.nodes(cst.Return, function.body):
        if statement.value is None or source.function(statement) is not function:
            continue
        found += (
            [e.value for e in statement.value.elements] if isinstance(statement.value, cst.Tuple) else [statement.value]
        )
    return found


def made_of(source: Source, node: cst.BaseExpression, depth: int = DEPTH) -> Iterator[cst.BaseExpression]:
    """An expression, and those that gave its names and calls of own functions their values; nearest first."""
    seen, waiting = set[cst.CSTNode](), [(node, depth)]
    while waiting:
        at, left = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        yield at
        if left <= 0:
            continue
        for name in [*source.nodes(cst.Name, at), *source.nodes(cst.Attribute, at)]:
            around = source.parent(name)
            inner = isinstance(around, cst.Attribute) and around.attr is name
            if not inner and not (isinstance(around, cst.Call) and around.func is name):
                waiting += [(a.value, left - 1) for a in definitions(source, name) if a.value is not None]
        for call in source.nodes(cst.Call, at):
            waiting += [(r, left - 1) for f in own_functions(source, call) for r in returned(source, f)]
