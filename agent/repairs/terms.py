"""Repair of a term of the loss that lost its graph on the way: followed back from the backward."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, last_name, positional, receiver
from aitia.agent.repairs.tracking import reach, switches, turn_on

CUTS = frozenset({"detach", "item", "numpy", "tolist", "data"})
COPIES = frozenset({"tensor", "as_tensor", "from_numpy", "float", "FloatTensor", "Tensor"})
NUMBERS = frozenset({"item", "float", "tolist"})
KEEPING = frozenset({"append", "array", "asarray", "mean", "std", "round", "dumps", "write", "add_scalar", "log"})
SUMMARY = "keep the term in the graph"
FAR = 4
"""Assignments that a term is followed back through."""


def term_attached(accused: Accused) -> Iterator[Patch]:
    """Cuts that a loss is made of, on the accused lines first; what else uses the value gets it without the graph."""
    for source in accused.sources:
        made = contributing(source)
        cuts = [n for e in made for n in _nodes(source, e) if _inner(source, n) is not None]
        cuts = [n for n in dict.fromkeys(cuts) if source.function(n) is not None or source.loop(n) is not None]
        cuts = [n for n in cuts if not any(n is not o and n in _nodes(source, o) for o in cuts)]
        lines = accused.lines(source)
        cuts.sort(key=lambda n: (source.line(n) not in lines, source.line(n)))
        off = [s for s in switches(source) if isinstance(s, cst.With)
               and any(source.line(e) in reach(source, s) for e in made)]  # fmt: skip
        groups = [[n] for n in cuts] + ([cuts] if len(cuts) > 1 else [])
        for group in groups:
            edits = Edits(source)
            for node in group:
                _attach(source, edits, node, made)
            patch = accused.patch(SUMMARY, edits)
            if patch is not None:
                yield patch
        edits = Edits(source)
        for switch in off:
            turn_on(source, edits, switch)
        patch = accused.patch(SUMMARY, edits)
        if patch is not None:
            yield patch


def contributing(source: Source) -> list[cst.BaseExpression]:
    """Expressions that the loss is made of: assigned on the way to a backward, or returned by functions asked there."""
    wanted = [(n.value, source.scope(c)) for c in source.calls("backward") if (on := receiver(c)) is not None
              for n in source.nodes(cst.Name, on)]  # fmt: skip
    functions = {f.name.value: f for f in source.nodes(cst.FunctionDef)}
    found, seen = list[cst.BaseExpression](), set[tuple[str, int]]()
    for _ in range(FAR):
        following = []
        for name, scope in wanted:
            if (name, id(scope)) in seen:
                continue
            seen.add((name, id(scope)))
            for value in _assigned(source, name, scope):
                found.append(value)
                following += [(n.value, scope) for n in source.nodes(cst.Name, value)]
                for call in source.nodes(cst.Call, value):
                    helper = functions.get(last_name(call.func))
                    for r in source.nodes(cst.Return, helper.body) if helper is not None else ():
                        if helper is not None and r.value is not None:
                            found.append(r.value)
                            following += [(n.value, helper) for n in source.nodes(cst.Name, r.value)]
        wanted = following
    return found


def _assigned(source: Source, name: str, scope: cst.CSTNode) -> Iterator[cst.BaseExpression]:
    for a in source.nodes(cst.Assign, scope):
        for t in a.targets:
            elements = t.target.elements if isinstance(t.target, cst.Tuple) else ()
            if any(source.code(e.value) == name for e in elements) or source.code(t.target) == name:
                yield a.value
    for grown in source.nodes(cst.AugAssign, scope):
        if source.code(grown.target) == name:
            yield grown.value


def _nodes(source: Source, within: cst.CSTNode) -> list[cst.Call | cst.Attribute]:
    return [*source.nodes(cst.Call, within), *source.nodes(cst.Attribute, within)]


def _inner(source: Source, node: cst.CSTNode) -> cst.BaseExpression | None:
    """`x` of `x.detach().item()`, `float(x)` and `torch.tensor(x)`."""
    at, changed = node, False
    while True:
        if isinstance(at, cst.Call) and last_name(at.func) in CUTS and not at.args and (on := receiver(at)) is not None:
            at, changed = on, True
        elif isinstance(at, cst.Attribute) and at.attr.value == "data":
            at, changed = at.value, True
        elif isinstance(at, cst.Call) and last_name(at.func) in COPIES and positional(at) and _copies(source, at):
            at, changed = positional(at)[0].value, True
        else:
            plain = isinstance(at, (cst.List, cst.Tuple, cst.Integer, cst.Float, cst.ListComp, cst.SimpleString))
            return at if changed and isinstance(at, cst.BaseExpression) and not plain else None


def _copies(source: Source, call: cst.Call) -> bool:
    on = receiver(call)
    return on is None or source.code(on) in {"torch", "np", "numpy"}


def _attach(source: Source, edits: Edits, node: cst.CSTNode, made: list[cst.BaseExpression]) -> None:
    """Take the cut away, and put it where the same value is kept for reports."""
    inner = _inner(source, node)
    if inner is None or not isinstance(node, cst.BaseExpression):
        return
    edits.replace(node, source.atom(inner))
    around = source.parent(node)
    if not isinstance(around, cst.Assign) or not isinstance(around.targets[0].target, cst.Name):
        return
    name, number = around.targets[0].target.value, isinstance(node, cst.Call) and last_name(node.func) in NUMBERS
    for use in source.nodes(cst.Name, source.scope(node)):
        if use.value != name or any(use in list(source.nodes(cst.Name, e)) for e in made):
            continue
        parent = source.parent(use)
        call = source.enclosing(use, (cst.Call, cst.SimpleStatementLine))
        asked = isinstance(parent, cst.Attribute) and parent.value is use
        if asked and isinstance(parent, cst.Attribute) and parent.attr.value in {"numpy", "tolist"}:
            edits.replace(use, f"{name}.detach()")
        elif not asked and isinstance(call, cst.Call) and last_name(call.func) in KEEPING:
            edits.replace(use, f"{name}.item()" if number else f"{name}.detach()")
