"""A tensor in the place of another: out of the graph (`.detach()`, `.item()`, `.data`, `torch.tensor(…)`), or anew."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from aitia.engine.patterns import COPIES
from aitia.engine.syntax import last_name

TAKES: frozenset[str] = COPIES | {"tolist"}
"""Methods whose result is no part of the graph."""
MAKES = frozenset({"tensor", "as_tensor", "from_numpy", "Parameter", "Variable"})
"""Functions whose result is no part of their argument's graph."""


def taken_out(tree: ast.Module, layers: Collection[str]) -> Iterator[int]:
    """Lines at which what was computed by one of these layers, by their variables' names, leaves the graph.

    Names that hold what was computed with their outputs are followed within a function, in the order of the text.
    """
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for scope in [*functions, tree]:
        held: set[str] = set()
        for node in _statements(scope):
            value = getattr(node, "value", None)
            if not isinstance(value, ast.AST):
                continue
            if isinstance(node, (ast.Assign, ast.Return)):
                yield from (n.lineno for n in ast.walk(value) if isinstance(n, ast.expr) and _copies(n, layers, held))
            if isinstance(node, ast.Assign) and _made_of(value, layers, held):
                held |= {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def bound_anew(tree: ast.Module) -> Iterator[int]:
    """`p = p - rate * p.grad`: the name is bound to a new tensor, and the parameter stays what it was."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.BinOp):
            continue
        names = {t.id for t in node.targets if isinstance(t, ast.Name)}
        read = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Attribute) and n.attr == "grad"]
        if any(isinstance(v, ast.Name) and v.id in names for v in read):
            yield node.lineno


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    """Statements of a scope in their order, without those of functions and classes in it."""
    for name in ("body", "orelse", "finalbody"):
        for node in getattr(scope, name, []):
            if isinstance(node, ast.stmt) and not isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            ):
                yield node
                yield from _statements(node)


def _copies(node: ast.expr, layers: Collection[str], held: set[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "data" and _made_of(node.value, layers, held)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in TAKES:
        return _made_of(node.func.value, layers, held)
    return last_name(node.func) in MAKES and any(_made_of(a, layers, held) for a in node.args)


def _made_of(value: ast.AST, layers: Collection[str], held: set[str]) -> bool:
    """Whether a value contains a call of one of the layers, or a name that holds what was computed with one."""
    return any(
        (isinstance(n, ast.Call) and last_name(n.func) in layers) or (isinstance(n, ast.Name) and n.id in held)
        for n in ast.walk(value)
    )


__all__ = ["bound_anew", "taken_out"]
