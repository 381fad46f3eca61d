"""Repairs of what stands in the wrong role: terms with the wrong sign, targets that learn, teachers that are judged."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Patch,
    Source,
    applied_to,
    last_name,
    positional,
    receiver,
    targets,
)
from aitia.agent.repairs.graph import COMPARING
from aitia.agent.repairs.source import argument

SOFT = frozenset({"log_softmax", "softmax"})
MOST = 4
"""Terms of a sum of which each is tried."""


def negated(accused: Accused) -> list[Patch]:
    """Minus before one term of the loss, then before all of it, wherever it is computed."""
    found: list[Patch | None] = []
    for source in accused.sources:
        for value in _losses(source):
            terms = list(_terms(value))
            found += [_minus(accused, source, term) for term in terms if 1 < len(terms) <= MOST]
            if not isinstance(value, cst.UnaryOperation):
                found.append(_minus(accused, source, value))
    return [p for p in found if p is not None]


def _losses(source: Source) -> Iterator[cst.BaseExpression]:
    """What `backward` is called on: the expression itself, what its name was given, or what a function returned."""
    seen = set[int]()
    for call in source.calls("backward"):
        on = receiver(call)
        if on is None:
            continue
        if not isinstance(on, (cst.Name, cst.Attribute)):
            yield on
            continue
        name, scope = source.code(on), source.scope(call)
        for assign in source.nodes(cst.Assign, scope):
            if source.code(assign.targets[0].target) != name or source.line(assign) > source.line(call):
                continue
            made = assign.value
            if id(made) not in seen:
                seen.add(id(made))
                yield made
            if isinstance(made, cst.Call):
                yield from (v for v in _returned(source, last_name(made.func)) if id(v) not in seen)


def _returned(source: Source, name: str) -> Iterator[cst.BaseExpression]:
    """What functions of this name, or the methods that modules are called by, give back."""
    for function in source.nodes(cst.FunctionDef):
        if function.name.value == name:
            for back in source.nodes(cst.Return, function):
                if back.value is not None and not isinstance(back.value, cst.Tuple):
                    yield back.value


def _terms(value: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Summands, from left to right, without the factors before them."""
    if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, (cst.Add, cst.Subtract)):
        yield from _terms(value.left)
        if isinstance(value.operator, cst.Add):
            yield value.right
        return
    yield value


def _minus(accused: Accused, source: Source, node: cst.BaseExpression) -> Patch | None:
    edits = Edits(source)
    text, called = f"-{source.atom(node)}", isinstance(source.parent(node), cst.Attribute)
    edits.replace(node, f"({text})" if called else text)
    return accused.patch("minimize the negative of what is to be maximized", edits)


def detached_targets(accused: Accused) -> list[Patch]:
    """Every comparison of the accused lines gets a target that does not learn: its second argument, else its first."""
    found: list[Patch | None] = []
    for source in accused.sources:
        lines = accused.lines(source)
        calls = [c for c in source.calls(*COMPARING) if source.line(c) in lines and len(positional(c)) > 1]
        calls = [c for c in calls if not source.calls("detach", within=c)]
        for place in (1, 0) if calls else ():
            edits = Edits(source)
            for call in calls:
                target = positional(call)[place].value
                edits.replace(target, f"{source.atom(target)}.detach()")
            found.append(accused.patch("detach the target", edits))
    return [p for p in found if p is not None]


def student_and_teacher(accused: Accused) -> Patch | None:
    """The logarithms that kl_div takes first are those of what learns: two sides change places, not their softmax."""
    for source in accused.sources:
        for call in accused.suspects(source.calls("kl_div"), source):
            sides = [a for a in (argument(call, 0, "input"), argument(call, 1, "target")) if a is not None]
            made = [m for m in (_softened(source, s) for s in sides) if m is not None]
            if len(made) != 2:
                continue
            edits = Edits(source)
            for side, (whole, inner), other in zip(sides, made, (made[1][1], made[0][1]), strict=True):
                (start, end), (first, last) = source.span(whole), source.span(inner)
                edits.replace(side, source.text[start:first] + source.code(other) + source.text[last:end])
            return accused.patch("let kl_div judge what learns, by the one that teaches", edits)
    return None


def _softened(source: Source, node: cst.BaseExpression) -> tuple[cst.Call, cst.BaseExpression] | None:
    """The call of a softmax that a value is or was assigned from, and what it was computed from."""
    if isinstance(node, cst.Name):
        given = [c for name in SOFT for c in source.calls(name) if node.value in map(source.code, targets(source, c))]
        node = given[0] if len(given) == 1 else node
    if not isinstance(node, cst.Call) or last_name(node.func) not in SOFT:
        return None
    inner = applied_to(source, node)
    return None if inner is None else (node, inner)
