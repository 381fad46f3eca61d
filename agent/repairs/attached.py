"""Repairs of the autograd graph where the break is written in less usual ways; each is tried after the usual one."""

from __future__ import annotations

import re

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, last_name, positional, receiver
from aitia.agent.repairs.source import Statement
from aitia.agent.repairs.state import drawn_again

COPIES = ("tensor", "as_tensor", "from_numpy", "FloatTensor", "Tensor", "float")
"""Calls that make a tensor or a number without the graph of what they are given."""
CUTS = frozenset({"detach", "detach_", "item", "numpy", "cpu", "tolist", "data"})


def attached(accused: Accused) -> Patch | None:
    """On the accused lines nothing is taken out of the graph: no detach, item, data, float or new tensor."""
    for source in accused.sources:
        edits, lines, done = Edits(source), accused.lines(source), list[cst.CSTNode]()
        expressions: list[cst.Call | cst.Attribute] = [*source.nodes(cst.Call), *source.nodes(cst.Attribute)]
        for node in sorted(
            expressions, key=lambda n: (source.span(n)[0], -source.span(n)[1])
        ):  # the whole before parts
            if source.line(node) not in lines or any(source.span(node)[1] <= source.span(d)[1] for d in done):
                continue
            inner = _uncut(source, node)
            if inner is not None and not _loads(source, node) and not _printed(source, node):
                edits.replace(node, source.atom(inner))
                done.append(node)
        patch = accused.patch("keep what is computed in the graph", edits)
        if patch is not None:
            return patch
    return None


def shared_graph(accused: Accused) -> Patch | None:
    """Of two backwards through one graph the first keeps it; a second one of the same loss is not called."""
    for source in accused.sources:
        for call in source.calls("backward"):
            statement = source.statement(call)
            block = source.block(statement)
            if statement not in block:
                continue
            later = [(s, c) for s in block[block.index(statement) + 1 :] for c in source.calls("backward", within=s)]
            if not later or keyword(call, "retain_graph") is not None:
                continue
            edits, (other, again) = Edits(source), later[0]
            if source.code(again) == source.code(call) and isinstance(other, cst.SimpleStatementLine):
                edits.remove(other)
                return accused.patch("go backward once", edits)
            _, end = source.span(call)
            edits.cut(end - 1, end, ", retain_graph=True)" if call.args else "retain_graph=True)")
            return accused.patch("keep the graph for the second backward", edits)
    return None


def written_by_index(accused: Accused) -> Patch | None:
    """`x[i] = v` writes into a copy of what backward still needs."""
    for source in accused.sources:
        edits, cloned = Edits(source), set[tuple[int, str]]()
        forwards = [f for f in source.nodes(cst.FunctionDef) if f.name.value == "forward"]
        writing: list[cst.Assign | cst.AugAssign] = [*source.nodes(cst.Assign), *source.nodes(cst.AugAssign)]
        for node in writing:
            target = node.target if isinstance(node, cst.AugAssign) else node.targets[0].target
            inside = source.line(node) in accused.lines(source) or source.function(node) in forwards
            if not isinstance(target, cst.Subscript) or not isinstance(target.value, cst.Name) or not inside:
                continue
            name, statement = target.value.value, source.statement(node)
            if (source.line(statement), name) not in cloned:
                cloned.add((source.line(statement), name))
                edits.before(statement, f"{name} = {name}.clone()")
        for call in source.calls("ReLU", "LeakyReLU", "SiLU", "ELU", "Dropout"):
            flags = [a for a in positional(call) if source.code(a.value) == "True"]
            for flag in flags:
                edits.replace(flag.value, "False")
        patch = accused.patch("write into a copy of what backward still needs", edits)
        if patch is not None:
            return patch
    return None


def divided_in_place(accused: Accused) -> Patch | None:
    """`x /= s` and `x.div(s)` on the accused lines: keep the divisor away from zero."""
    for source in accused.sources:
        edits, lines = Edits(source), accused.lines(source)
        found = [a.value for a in source.nodes(cst.AugAssign)
                 if isinstance(a.operator, cst.DivideAssign) and source.line(a) in lines]  # fmt: skip
        found += [positional(c)[-1].value for c in source.calls("div", "div_", "divide", "true_divide")
                  if source.line(c) in lines and positional(c)]  # fmt: skip
        found += [b.right for b in source.nodes(cst.BinaryOperation)
                  if isinstance(b.operator, cst.Divide) and source.line(b) in lines]  # fmt: skip
        for divisor in found:
            if not isinstance(divisor, (cst.Integer, cst.Float)):
                edits.replace(divisor, f"({source.code(divisor)} + 1e-5)")
        patch = accused.patch("keep the divisor away from zero", edits)
        if patch is not None:
            return patch
    return None


def rectified(accused: Accused) -> Patch | None:
    """`torch.sigmoid(self.a(x))` and `self.a(x).tanh()` between layers become rectifiers."""
    for source in accused.sources:
        edits = Edits(source)
        for function in [f for f in source.nodes(cst.FunctionDef) if f.name.value == "forward"]:
            for call in source.calls("sigmoid", "tanh", within=function.body):
                on = receiver(call)
                of = next((a.value for a in positional(call)), on)
                returned = isinstance(source.parent(call), cst.Return)
                if returned or on is None or of is None or not isinstance(of, (cst.Call, cst.Name)):
                    continue
                _, end = source.span(call.func)
                edits.cut(end - len(last_name(call.func)), end, "relu")
        patch = accused.patch("use rectifiers between the layers, which do not saturate", edits)
        if patch is not None:
            return patch
    return None


def evaluated_here(accused: Accused) -> Patch | None:
    """A function that runs the model and never goes backward evaluates: it begins in that mode and ends in training."""
    if drawn_again(accused):
        return None
    for source in accused.sources:
        for function in source.nodes(cst.FunctionDef):
            judges = re.search(r"eval|valid|test|accura|score|predict|measure|check", function.name.value)
            forward = next(accused.forwards(source, function.body), None)
            inside = any(source.line(function) <= n <= source.last_line(function) for n in accused.lines(source))
            if forward is None or not (judges or inside) or source.calls("backward", "eval", within=function):
                continue
            name, body = source.code(forward.func), function.body
            first = body.body[0] if isinstance(body, cst.IndentedBlock) else None
            known = {p.name.value for p in function.params.params}
            if name == "self" or not isinstance(first, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                continue
            edits = Edits(source)
            edits.before(first, f"{name}.eval()")
            for call in source.calls("backward"):
                trained = next(accused.forwards(source, around), None) if (around := _before(source, call)) else None
                if trained is not None and around is not None:
                    edits.before(around, f"{source.code(trained.func)}.train()")
                    break
            if known or "." in name or source.function(function) is None:
                return accused.patch("evaluate in evaluation mode", edits)
    return None


def _before(source: Source, backward: cst.Call) -> Statement | None:
    """The first statement of the loop that trains."""
    loop = source.loop(backward)
    body = loop.body.body if loop is not None and isinstance(loop.body, cst.IndentedBlock) else ()
    found = [s for s in body if isinstance(s, (cst.SimpleStatementLine, cst.BaseCompoundStatement))]
    return loop if found else None


def _uncut(source: Source, node: cst.BaseExpression) -> cst.BaseExpression | None:
    """`x` of `x.detach().item()`, `torch.tensor(x)`, `float(x)` and `x.data`; None for anything else."""
    at, changed = node, False
    while True:
        if isinstance(at, cst.Call) and last_name(at.func) in CUTS and (on := receiver(at)) is not None:
            at, changed = on, True
        elif isinstance(at, cst.Attribute) and at.attr.value == "data":
            at, changed = at.value, True
        elif isinstance(at, cst.Call) and _copies(source, at):
            at, changed = positional(at)[0].value, True
        else:
            return at if changed and not isinstance(at, (cst.List, cst.Tuple)) else None


def _copies(source: Source, call: cst.Call) -> bool:
    """`torch.tensor(x)` and `float(x)`, but no `x.float()`."""
    on = receiver(call)
    return last_name(call.func) in COPIES and len(positional(call)) == 1 and (on is None or source.code(on) == "torch")


def _loads(source: Source, node: cst.CSTNode) -> bool:
    """Whether this runs once, before a loop or a function that trains: data, which has no graph."""
    trained = any(source.loop(c) is not None or source.function(c) is not None for c in source.calls("backward"))
    return trained and source.function(node) is None and source.loop(node) is None


def _printed(source: Source, node: cst.CSTNode) -> bool:
    around = source.enclosing(node, (cst.Call,))
    return isinstance(around, cst.Call) and last_name(around.func) in {"print", "append", "format"}
