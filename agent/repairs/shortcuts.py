"""Repairs of deep networks that cannot be trained: a way around each block, and norms that normalise."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, only
from aitia.agent.repairs.source import keyword, number

LARGE = 1e-2
"""An epsilon above this outweighs ordinary variances; libraries use 1e-3 at most."""
AROUND = "add each block's input to its output"


def residual_or_norm_misplaced(accused: Accused) -> list[Patch]:
    """Norms get their usual epsilon; blocks get a way around them, inside or where they are called."""
    kinds = {x.name: x for x in accused.run.layers}
    suspect = kinds.get(accused.hypothesis.component or "")
    found: list[Patch | None] = []
    for source in accused.sources:
        if suspect is None or suspect.kind == "norm":
            found.append(accused.patch("give the norms their usual epsilon", _usual_epsilon(source)))
        if suspect is None or suspect.kind != "norm":
            found += [
                accused.patch(AROUND, _returned(source, suspect.cls if suspect is not None else "")),
                accused.patch(AROUND, _applied(source)),
            ]
    return [p for p in found if p is not None]


def _usual_epsilon(source: Source) -> Edits:
    """Norms made without the large epsilon that was asked for."""
    edits = Edits(source)
    for call in source.nodes(cst.Call):
        if "Norm" not in last_name(call.func):
            continue
        given = keyword(call, "eps")
        places = [a for a in call.args if a.keyword is None]
        second = places[1] if len(places) > 1 and last_name(call.func) != "GroupNorm" else None
        arg = given or second
        if arg is not None and (value := number(arg.value)) is not None and value > LARGE:
            edits.replace(arg.value, "1e-5")
    for statement in source.nodes(cst.Assign):
        name = last_name(statement.targets[0].target).lower()
        if name.endswith(("eps", "epsilon")) and (number(statement.value) or 0) > LARGE:
            edits.replace(statement.value, "1e-5")
    return edits


def _returned(source: Source, name: str) -> Edits:
    """`return inner(x)` of one class becomes `return x + inner(x)`, with `x` as it came in."""
    edits = Edits(source)
    for owner in source.nodes(cst.ClassDef):
        if owner.name.value != name:
            continue
        for method in (f for f in source.nodes(cst.FunctionDef, owner) if f.name.value == "forward"):
            returns = [r for r in source.nodes(cst.Return, method) if r.value is not None]
            if len(method.params.params) < 2 or len(returns) != 1 or returns[0].value is None:
                continue
            came, value = method.params.params[1].name.value, returns[0].value
            if isinstance(value, cst.Tuple):
                continue
            changed = any(came in _written(source, s) for s in source.nodes(cst.SimpleStatementLine, method.body))
            body = method.body.body
            if changed and isinstance(body[0], (cst.SimpleStatementLine, cst.If, cst.For, cst.With)):
                edits.before(body[0], f"shortcut = {came}")
                came = "shortcut"
            edits.replace(value, f"{came} + {source.atom(value)}")
    return edits


def _applied(source: Source) -> Edits:
    """`for block in self.blocks: x = block(x)` becomes `x = x + block(x)`."""
    edits = Edits(source)
    for loop in source.nodes(cst.For):
        for statement in source.nodes(cst.SimpleStatementLine, loop.body):
            small = only(statement)
            if not isinstance(small, cst.Assign) or not isinstance(small.value, cst.Call):
                continue
            target, call = small.targets[0].target, small.value
            called = isinstance(loop.target, cst.Name) and source.code(call.func) == loop.target.value
            if called and len(call.args) == 1 and source.code(call.args[0].value) == source.code(target):
                edits.replace(call, f"{source.code(target)} + {source.code(call)}")
    return edits


def _written(source: Source, statement: cst.SimpleStatementLine) -> set[str]:
    """Plain names that a line gives new values."""
    names = set[str]()
    for small in statement.body:
        if isinstance(small, cst.Assign):
            names |= {n.value for t in small.targets for n in source.nodes(cst.Name, t.target)}
        elif isinstance(small, cst.AugAssign) and isinstance(small.target, cst.Name):
            names.add(small.target.value)
    return names
