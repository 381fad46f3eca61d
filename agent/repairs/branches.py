"""Repairs of branches that are computed and then hidden: their arguments are made safe first (the double where)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, receiver
from aitia.agent.repairs.flow import definitions, made_of
from aitia.agent.repairs.source import argument, number

SUMMARY = "replace the values of the branch that is not taken before the operation"
LIBRARIES = frozenset({"torch", "F", "nn.functional", "functional", "torch.linalg", "torch.special"})
SINGULAR = {
    "log": "ones", "log2": "ones", "log10": "ones", "log1p": "ones", "sqrt": "ones", "rsqrt": "ones", "pow": "ones",
    "reciprocal": "ones", "exp": "zeros", "expm1": "zeros", "acos": "zeros", "asin": "zeros", "atanh": "zeros",
    "acosh": "zeros", "logit": "ones", "lgamma": "ones", "digamma": "ones", "xlogy": "ones",
}  # fmt: skip
"""Operations whose slope leaves the finite numbers somewhere → an argument at which it does not; see `SAFE`, too."""
SAFE = {"logit": "torch.full_like({0}, 0.5)", "acosh": "torch.full_like({0}, 2.0)"}


@dataclass(frozen=True)
class Choice:
    """One of two values that a condition chooses between."""

    condition: cst.BaseExpression
    holds: bool
    """Whether the branch is taken where the condition is true."""
    branch: cst.BaseExpression
    positive: bool = False
    """Whether the condition is a mask of numbers: taken where it is above zero."""


def masked_branch_nan(accused: Accused) -> list[Patch]:
    """Make the argument of the hidden branch safe, by the condition that hides it, where that is known in time."""
    found: list[Patch] = []
    for source in accused.sources:
        lines = accused.lines(source)
        pairs = [(c, op) for c in _choices(source) for op in _singular(source, c.branch)]
        here = [(c, op) for c, op in pairs if any(source.line(op) <= n <= source.range(op).end.line for n in lines)]
        for chosen in (_outermost(source, here or pairs), _innermost(source, here or pairs)):
            edits = Edits(source)
            for choice, op in chosen:
                _guard(source, edits, choice, op)
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                found.append(patch)
    return found


def _choices(source: Source) -> Iterator[Choice]:
    """Everything that hides values: where, masked_fill, products with a mask, entries that are set."""
    yield from _selections(source)
    for product in source.nodes(cst.BinaryOperation):
        if isinstance(product.operator, cst.Multiply):
            for branch, mask in ((product.left, product.right), (product.right, product.left)):
                if any(w in source.code(mask).lower() for w in ("mask", "valid", "keep", "> 0", ">0")):
                    yield Choice(mask, True, branch, positive=True)
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        if isinstance(target, cst.Subscript) and len(target.slice) == 1 and number(assign.value) is not None:
            inner = target.slice[0].slice
            if isinstance(inner, cst.Index) and number(inner.value) is None:
                yield Choice(inner.value, False, target.value)


def _selections(source: Source) -> Iterator[Choice]:
    """`torch.where(c, x, y)`, `x.where(c, y)`, `x.masked_fill(c, 0)`."""
    for call in source.nodes(cst.Call):
        on, name = receiver(call), last_name(call.func)
        method = on is not None and source.code(on) not in {*LIBRARIES, "np"}
        if name == "where" and not method:
            test, one, other = (argument(call, n, w) for n, w in enumerate(("condition", "input", "other")))
            if test is not None and one is not None and other is not None:
                yield Choice(test, True, one)
                yield Choice(test, False, other)
        elif name == "where" and on is not None:
            test, other = argument(call, 0, "condition"), argument(call, 1, "other", "y")
            if test is not None:
                yield Choice(test, True, on)
                if other is not None:
                    yield Choice(test, False, other)
        elif name in {"masked_fill", "masked_fill_"} and on is not None:
            test = argument(call, 0, "mask")
            if test is not None:
                yield Choice(test, False, on)


def _singular(source: Source, branch: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Operations that a branch is made of and that may leave the finite numbers."""
    for value in made_of(source, branch, 3):
        for call in source.nodes(cst.Call, value):
            if last_name(call.func) in SINGULAR and not source.code(call.func).startswith(("math.", "np.")):
                yield call
        for operation in source.nodes(cst.BinaryOperation, value):
            divides = isinstance(operation.operator, cst.Divide) and number(operation.right) is None
            power = isinstance(operation.operator, cst.Power) and number(operation.right) not in {
                None,
                1.0,
                2.0,
                3.0,
                4.0,
            }
            if divides or power:
                yield operation


def _guard(source: Source, edits: Edits, choice: Choice, op: cst.BaseExpression) -> None:
    """Put another where around the operation's argument, if its condition is known there."""
    test = _in_reach(source, choice.condition, op)
    if test is None:
        return
    test = f"{test} > 0" if choice.positive and ">" not in test else test
    opposite = test.removeprefix("~") if test.startswith("~") and test[1:].isidentifier() else f"~({test})"
    test = test if choice.holds else opposite
    for inner, spare in _arguments(source, op):
        text = source.code(inner)
        if number(inner) is not None:
            continue
        new = f"torch.where({test}, {text}, {spare.format(text)})"
        edits.replace(inner, new)


def _arguments(source: Source, op: cst.BaseExpression) -> list[tuple[cst.BaseExpression, str]]:
    """What must stay away from the singular place, and what may stand there instead."""
    if isinstance(op, cst.BinaryOperation):
        return [(op.right if isinstance(op.operator, cst.Divide) else op.left, "torch.ones_like({0})")]
    if not isinstance(op, cst.Call):
        return []
    on, name = receiver(op), last_name(op.func)
    inner = argument(op, 0, "input", "self") if on is None or source.code(on) in LIBRARIES else on
    spare = SAFE.get(name, f"torch.{SINGULAR[name]}_like({{0}})")
    return [(inner, spare)] if inner is not None else []


def _in_reach(source: Source, test: cst.BaseExpression, op: cst.BaseExpression, depth: int = 2) -> str | None:
    """The condition as it can be written at the operation: by its name, else by what it is made of."""
    if source.function(test) is not source.function(op):
        return None
    text = source.code(test)
    for name in source.nodes(cst.Name, test):
        made = [a for a in definitions(source, name) if source.function(a) is source.function(op)]
        if not made or source.line(made[0]) < source.line(source.statement(op)):
            continue
        if not isinstance(test, cst.Name) or len(made) != 1 or made[0].value is None or depth <= 0:
            return None
        return _in_reach(source, made[0].value, op, depth - 1)
    return text


def _outermost(
    source: Source, pairs: list[tuple[Choice, cst.BaseExpression]]
) -> list[tuple[Choice, cst.BaseExpression]]:
    return [p for p in _once(pairs) if not any(_within(source, p[1], other) for _, other in pairs if other is not p[1])]


def _innermost(
    source: Source, pairs: list[tuple[Choice, cst.BaseExpression]]
) -> list[tuple[Choice, cst.BaseExpression]]:
    return [p for p in _once(pairs) if not any(_within(source, other, p[1]) for _, other in pairs if other is not p[1])]


def _once(pairs: list[tuple[Choice, cst.BaseExpression]]) -> list[tuple[Choice, cst.BaseExpression]]:
    first = dict[int, tuple[Choice, cst.BaseExpression]]()
    for pair in pairs:
        first.setdefault(id(pair[1]), pair)
    return list(first.values())


def _within(source: Source, inner: cst.CSTNode, outer: cst.CSTNode) -> bool:
    (a, b), (c, d) = source.span(inner), source.span(outer)
    return c <= a and b <= d and (a, b) != (c, d)
