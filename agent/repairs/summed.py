"""Repairs of losses that are sums: a mean in the place of the sum, or the factor left out that made a sum of a mean."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.flow import backward_roots, made_of
from aitia.agent.repairs.loss import FUNCTIONS, loss_calls
from aitia.agent.repairs.source import LOOPS, number

SUMMARY = "average the loss over the batch"
NEAR_ONE = (0.1, 10.0)
"""Factors between these weigh a term; they make no sum of a mean."""
LIBRARIES = frozenset({"torch", "np", "F"})
BATCH = re.compile(r"len\(|size\(|shape|batch|numel|count|\bn\b", re.IGNORECASE)
"""How the number of samples is written, that a mean is multiplied by."""
OPTION = re.compile(r"(?i)reduction|reduce")


def reduction_scale(accused: Accused) -> list[Patch]:
    """Average the loss: every sum on the way into backward is tried as a mean, the nearest first."""
    found: list[Patch] = []
    for source in accused.sources:
        edits = [*_options(accused, source), *_followed(accused, source), *_on_accused_lines(accused, source)]
        found += [p for e in edits if (p := accused.patch(SUMMARY, e)) is not None]
    return found


def _options(accused: Accused, source: Source) -> list[Edits]:
    """`reduction="sum"`, at the loss itself or where its option is set."""
    sums = [
        a for c in source.nodes(cst.Call) if (a := keyword(c, "reduction")) is not None and _is_sum(source, a.value)
    ]
    argument = accused.pick(sums, source)
    values: list[cst.BaseExpression] = [argument.value] if argument is not None else [a.value for a in sums]
    if not values:
        values = [a.value for a in source.nodes(cst.Assign) if OPTION.search(source.code(a.targets[0].target))]
        values += [
            a.value for a in source.nodes(cst.AnnAssign) if a.value is not None and OPTION.search(source.code(a.target))
        ]
        values += [
            a.value for c in source.nodes(cst.Call) for a in c.args if a.keyword and OPTION.search(a.keyword.value)
        ]
        values += [p.default for p in source.nodes(cst.Param) if p.default is not None and OPTION.search(p.name.value)]
        values += [e.value for d in source.nodes(cst.Dict) for e in d.elements
                   if isinstance(e, cst.DictElement) and OPTION.search(source.code(e.key))]  # fmt: skip
        values += [a.value for c in source.calls("add_argument") if OPTION.search(source.code(c))
                   if (a := keyword(c, "default")) is not None]  # fmt: skip
        values = [v for v in values if _is_sum(source, v)]
    edits = Edits(source)
    for value in values:
        edits.replace(value, source.code(value).replace("sum", "mean"))
    averaged = [a for c in source.nodes(cst.Call) if (a := keyword(c, "size_average")) is not None]
    for a in averaged if not values else ():
        edits.replace(a.value, "True")
    return [edits] if edits.result() is not None else []


def _is_sum(source: Source, node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.SimpleString) and source.code(node).strip("'\"") == "sum"


def _followed(accused: Accused, source: Source) -> list[Edits]:
    """From backward back to the loss functions: factors, sums and loops that add up."""
    losses = loss_calls(accused, source)
    factors, sums, grown = list[Edits](), list[Edits](), list[Edits]()
    for root in backward_roots(source):
        for value in made_of(source, root):
            factors += _without_factor(source, value, losses)
            sums += _mean(source, value)
            grown += _divided_after_loop(source, value)
            factors += _multiplied_in_place(source, value)
    return [*factors, *grown, *sums]


def _without_factor(source: Source, value: cst.BaseExpression, losses: list[cst.Call]) -> list[Edits]:
    found = []
    names = {"loss", "error", "err", "nll", "mse", "objective", "criterion"}
    for node in source.nodes(cst.BinaryOperation, value):
        if not isinstance(node.operator, (cst.Multiply, cst.Divide)):
            continue
        sides = [(node.left, node.right)]
        sides += [(node.right, node.left)] if isinstance(node.operator, cst.Multiply) else []
        for kept, factor in sides:
            known = number(factor)
            size = known is not None and not NEAR_ONE[0] < abs(known) < NEAR_ONE[1]
            counted = known is None and (
                BATCH.search(source.code(factor)) or isinstance(factor, (cst.Name, cst.Attribute, cst.Subscript))
            )
            mean = kept in losses or any(w in source.code(kept).lower() for w in names) or _ends_in(kept, "mean")
            if mean and (size or counted) and "loss" not in source.code(factor):
                edits = Edits(source)
                edits.replace(node, source.code(kept))
                found.append(edits)
                break
    return found


def _multiplied_in_place(source: Source, value: cst.BaseExpression) -> list[Edits]:
    """`loss *= len(x)` on the way into backward is left out."""
    statement = source.statement(value)
    small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    if not isinstance(small, cst.AugAssign) or not isinstance(small.operator, (cst.MultiplyAssign, cst.DivideAssign)):
        return []
    known, text = number(small.value), source.code(small.value)
    counted = known is None and (
        BATCH.search(text) or isinstance(small.value, (cst.Name, cst.Attribute, cst.Subscript))
    )
    if small.value is not value or not (counted or (known is not None and not NEAR_ONE[0] < abs(known) < NEAR_ONE[1])):
        return []
    edits = Edits(source)
    edits.remove(statement)
    return [edits]


def _mean(source: Source, value: cst.BaseExpression) -> list[Edits]:
    found = []
    for call in source.calls("sum", within=value):
        edits, on = Edits(source), receiver(call)
        if on is None and positional(call):  # Python's own sum, over terms that are losses
            over = positional(call)[0].value
            if isinstance(over, cst.GeneratorExp):
                text = source.code(over).strip("()") if over.lpar else source.code(over)
                edits.replace(call, f"torch.stack([{text}]).mean()")
            else:
                edits.replace(call, f"torch.stack({source.code(over)}).mean()")
            if "import torch" not in source.text:
                continue
        elif on is not None and (source.code(on) in LIBRARIES or not positional(call)) and keyword(call, "dim") is None:
            if source.code(on) in LIBRARIES and len(positional(call)) != 1:
                continue
            _, end = source.span(call.func)
            edits.cut(end - len("sum"), end, "mean")
        else:
            continue
        found.append(edits)
    return found


def _divided_after_loop(source: Source, value: cst.BaseExpression) -> list[Edits]:
    """`loss = loss + f(…)` in a loop: divided by the number of rounds behind it."""
    statement = source.statement(value)
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return []
    small = statement.body[0]
    if isinstance(small, cst.AugAssign):
        target, adds = small.target, isinstance(small.operator, cst.AddAssign)
    elif isinstance(small, cst.Assign) and isinstance(small.value, cst.BinaryOperation):
        target, sides = small.targets[0].target, {source.code(small.value.left), source.code(small.value.right)}
        adds = isinstance(small.value.operator, cst.Add) and source.code(target) in sides
    else:
        return []
    loop = source.loop(statement)
    rounds = _rounds(source, loop.iter) if isinstance(loop, cst.For) else None
    inside = loop is not None and source.calls("backward", "step", within=loop.body)
    if not adds or rounds is None or loop is None or inside or not isinstance(loop, LOOPS):
        return []
    name, edits = source.code(target), Edits(source)
    edits.after(loop, f"{name} = {name} / {rounds}")
    return [edits]


def _rounds(source: Source, over: cst.BaseExpression) -> str | None:
    """How often a loop runs, written as code."""
    if not isinstance(over, cst.Call):
        return f"len({source.code(over)})"
    name, given = last_name(over.func), [source.code(a.value) for a in positional(over)]
    if receiver(over) is None and name == "range":
        if len(given) == 1:
            return source.atom(positional(over)[0].value)
        return f"({given[1]} - {source.atom(positional(over)[0].value)})" if len(given) == 2 else None
    if receiver(over) is None and name in {"zip", "enumerate", "reversed", "list"} and given:
        found = (_rounds(source, a.value) for a in positional(over))
        return next((f for f in found if f is not None), None)
    return (
        f"len({source.code(over)})"
        if name in {"split", "chunk", "unbind", "tolist", "items", "keys", "values"}
        else None
    )


def _on_accused_lines(accused: Accused, source: Source) -> list[Edits]:
    """What stands on the accused lines, where nothing could be followed: a sum, a mean that is scaled once more."""
    lines, found = accused.lines(source), list[Edits]()
    for statement in source.nodes(cst.SimpleStatementLine):
        if source.line(statement) not in lines:
            continue
        for call in source.calls("sum", within=statement):
            if receiver(call) is not None and not call.args:
                edits = Edits(source)
                _, end = source.span(call.func)
                edits.cut(end - len("sum"), end, "mean")
                found.append(edits)
        for node in source.nodes(cst.BinaryOperation, statement):
            loss = node.left in loss_calls(accused, source) or _ends_in(node.left, *FUNCTIONS)
            if isinstance(node.operator, (cst.Divide, cst.Multiply)) and loss:
                edits = Edits(source)
                edits.replace(node, source.code(node.left))
                found.append(edits)
    return found


def _ends_in(node: cst.BaseExpression, *names: str) -> bool:
    return isinstance(node, cst.Call) and last_name(node.func) in names
