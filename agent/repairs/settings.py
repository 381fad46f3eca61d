"""Where a program sets an option of its optimizer: the literals behind the name under which the value arrives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import (
    Accused,
    Edits,
    Source,
    keyword,
    last_name,
    optimizer_constructions,
    positional,
    unpacked,
)
from aitia.agent.repairs.source import number

SAME = 1e-9
HOPS = 4
"""Hands through which a number goes before it reaches the optimizer: literal, config, argument, parameter."""
_SPECIFIC = ("argument", "entry", "assignment", "default")
"""Where a value is set, the most specific first: an argument at the call beats the default it overrides."""

Place = tuple[Source, cst.BaseExpression]
Given = tuple[str, cst.BaseExpression]


def places(accused: Accused, name: str, value: float) -> list[Place]:
    """Literals of that value that may set the option: at the optimizer itself, else under a name that reaches it."""
    for source in accused.sources:
        built = accused.suspects(constructions(source, name), source)
        literal = [(source, n) for c in built for n in given(source, c, name) if equal(n, value)]
        if literal:
            return literal
    names = _aliases(accused, name)
    found: list[tuple[int, Source, cst.BaseExpression]] = []
    for source in accused.sources:
        found += [
            (_SPECIFIC.index(kind), source, node) for kind, node in _literals(source, names) if equal(node, value)
        ]
    best = min((rank for rank, _, _ in found), default=0)
    likely = [(s, n) for rank, s, n in found if rank == best]
    groups = max((len(o.groups) for o in accused.run.optimizers), default=1)
    return likely if len(likely) <= groups else []  # one for each group of parameters; more leave a choice


def written(accused: Accused, name: str, value: float, new: str) -> Edits | None:
    """The number changed in a text that the program parses as its configuration, such as JSON or YAML."""
    names = "|".join(map(re.escape, sorted(_aliases(accused, name))))
    pattern = re.compile(rf"[\"']?\b(?:{names})[\"']?\s*[:=]\s*(?P<number>[-+]?[\d.]+(?:[eE][-+]?\d+)?)")
    for source in accused.sources:
        for text in source.nodes(cst.SimpleString):
            start, _ = source.span(text)
            hits = [m for m in pattern.finditer(source.code(text)) if _same(m["number"], value)]
            if len(hits) == 1:
                edits = Edits(source)
                edits.cut(start + hits[0].start("number"), start + hits[0].end("number"), new)
                return edits
    return None


def constructions(source: Source, name: str) -> list[cst.Call]:
    """Calls that take the option: optimizers, and for the top of a cycle its scheduler."""
    return source.calls("OneCycleLR", "CyclicLR") if name == "max_lr" else optimizer_constructions(source)


def given(source: Source, built: cst.Call, name: str) -> Iterator[cst.BaseExpression]:
    """What a construction is given for an option, also for single groups of parameters."""
    if (direct := keyword(built, name)) is not None:
        yield direct.value
    elif name in {"lr", "max_lr"} and len(positional(built)) > 1:
        yield positional(built)[1].value
    for entry in source.nodes(cst.DictElement, built):
        if string(entry.key) == name:
            yield entry.value
    for call in source.calls("dict", within=built):
        if call is not built and (option := keyword(call, name)) is not None:
            yield option.value


def equal(node: cst.BaseExpression, value: float) -> bool:
    """Whether an expression is the literal of that value."""
    literal = number(node)
    return literal is not None and math.isclose(literal, value, rel_tol=1e-6, abs_tol=SAME)


def string(node: cst.CSTNode) -> str:
    """The value of a string literal; empty where it is none."""
    value = node.evaluated_value if isinstance(node, cst.SimpleString) else None
    return value if isinstance(value, str) else ""


def _same(text: str, value: float) -> bool:
    try:
        return math.isclose(float(text), value, rel_tol=1e-6, abs_tol=SAME)
    except ValueError:
        return False


def _aliases(accused: Accused, name: str) -> set[str]:
    """Names by which the option's value reaches the optimizer: `rate` of `SGD(p, lr=args.rate)`."""
    usual = {"lr": {"learning_rate", "base_lr"}, "weight_decay": {"wd"}}
    found = {name, *usual.get(name, ())}
    for source in accused.sources:
        for built in constructions(source, name):
            found |= {n for value in given(source, built, name) for n in _names(value)}
        for entry in source.nodes(cst.DictElement):  # groups that are made before, in a function of their own
            found |= _names(entry.value) if string(entry.key) == name else set()
        for call in source.calls("dict"):
            option = keyword(call, name)
            found |= _names(option.value) if option is not None else set()
    for _ in range(HOPS):
        new = {n for s in accused.sources for _, v in _handed(s, found) for n in _names(v)} - found
        if not new:
            break
        found |= new
    return found | {n.lower() for n in found}


def _names(node: cst.BaseExpression) -> set[str]:
    """The last name of what is handed on: `rate` of `cfg.rate`, of `cfg["rate"]`, of `cfg.get("rate", 1)`."""
    if isinstance(node, cst.Subscript):
        return {string(i.slice.value) for i in node.slice if isinstance(i.slice, cst.Index)} - {""}
    if isinstance(node, cst.Call):
        inner = {string(a.value) for a in positional(node)} if last_name(node.func) in {"get", "getattr"} else set()
        return (inner or {n for a in positional(node) for n in _names(a.value)} if _plain(node) or inner else set()) - {
            ""
        }
    return {last_name(node)} - {""}


def _plain(call: cst.Call) -> bool:
    return last_name(call.func) in {"float", "str"}


def _handed(source: Source, names: set[str]) -> Iterator[Given]:
    """What is handed on under one of the names: at a call, in a dictionary, by assignment, by default."""
    yield from _at_calls(source, names)
    for entry in source.nodes(cst.DictElement):
        if string(entry.key) in names:
            yield "entry", entry.value
    for assign in source.nodes(cst.Assign):
        pairs = unpacked(assign) or [(t.target, assign.value) for t in assign.targets]
        for target, value in pairs:
            keys = source.nodes(cst.Index, target) if isinstance(target, cst.Subscript) else ()
            if last_name(target) in names or any(string(k.value) in names for k in keys):
                yield "assignment", value
    for annotated in source.nodes(cst.AnnAssign):
        if annotated.value is not None and last_name(annotated.target) in names:
            yield ("default" if source.enclosing(annotated, (cst.ClassDef,)) else "assignment"), annotated.value
    for parameter in source.nodes(cst.Param):
        if parameter.default is not None and parameter.name.value in names:
            yield "default", parameter.default


def _at_calls(source: Source, names: set[str]) -> Iterator[Given]:
    """By keyword, by place, and as the default of an option of the command line or of a dictionary."""
    functions = {f.name.value: f for f in source.nodes(cst.FunctionDef) if f.name.value != "__init__"}
    makers = {c.name.value: f for c in source.nodes(cst.ClassDef) for f in source.nodes(cst.FunctionDef, c.body)
              if f.name.value == "__init__"}  # fmt: skip
    fields = {c.name.value: [last_name(a.target) for a in source.nodes(cst.AnnAssign, c.body)]
              for c in source.nodes(cst.ClassDef) if c.name.value not in makers}  # fmt: skip
    for call in source.nodes(cst.Call):
        yield from (("argument", a.value) for a in call.args if a.keyword is not None and a.keyword.value in names)
        called = last_name(call.func)
        function = makers.get(called) or functions.get(called)
        order = fields.get(called, []) if function is None else [p.name.value for p in function.params.params]
        order = order[1:] if order[:1] == ["self"] else order
        yield from (("argument", a.value) for n, a in zip(order, positional(call), strict=False) if n in names)
        options = {string(a.value).lstrip("-").replace("-", "_") for a in positional(call)}
        default = keyword(call, "default")
        if called == "add_argument" and default is not None and options & names:
            yield "default", default.value
        if called in {"get", "getattr"} and options & names and len(call.args) > 1:
            yield "default", call.args[-1].value


def _literals(source: Source, names: set[str]) -> list[tuple[str, cst.BaseExpression]]:
    """Numbers that are handed on under one of the names, each once."""
    found: dict[int, tuple[str, cst.BaseExpression]] = {}
    for kind, node in _handed(source, names):
        if number(node) is not None:
            found.setdefault(id(node), (kind, node))
    return list(found.values())
