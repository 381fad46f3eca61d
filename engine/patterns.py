"""Patterns of wrong code, cause by cause: ways to find a line in a syntax tree. Reads, never runs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from aitia.engine.syntax import (
    all_calls,
    assignments,
    blocks,
    feeds_arithmetic,
    is_false,
    last_name,
    small,
)

Finder = Callable[[ast.Module], Iterator[int]]

MAX_LINES = 3
"""More lines than this point nowhere."""


def calls(*names: str) -> Finder:
    """Calls whose last name is one of these."""

    def find(tree: ast.Module) -> Iterator[int]:
        yield from (c.lineno for c in all_calls(tree) if last_name(c.func) in names)

    return find


def keyword(name: str, value: object) -> Finder:
    """Calls with this keyword set to this constant."""

    def find(tree: ast.Module) -> Iterator[int]:
        for call in all_calls(tree):
            for k in call.keywords:
                if k.arg == name and isinstance(k.value, ast.Constant) and k.value.value == value:
                    yield k.value.lineno

    return find


def both(*finders: Finder) -> Finder:
    """What either finds, in this order."""

    def find(tree: ast.Module) -> Iterator[int]:
        for finder in finders:
            yield from finder(tree)

    return find


def backward_value(tree: ast.Module) -> Iterator[int]:
    """Where the value that goes into backward is made: its last assignment before."""
    assigned = assignments(tree)
    for call in all_calls(tree):
        if last_name(call.func) == "backward" and isinstance(call.func, ast.Attribute):
            target = call.func.value
            if isinstance(target, ast.Name):
                before = [line for name, line, _ in assigned if name == target.id and line < call.lineno]
                yield from before[-1:]
            else:
                yield call.lineno


def negations(tree: ast.Module) -> Iterator[int]:
    """A minus sign in front of what goes into backward or is returned as a loss."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, (ast.Assign, ast.Return)) else None
        if (
            isinstance(value, ast.UnaryOp)
            and isinstance(value.op, ast.USub)
            and not isinstance(value.operand, ast.Constant)
        ):
            yield value.lineno
        if isinstance(node, ast.Call) and last_name(node.func) == "backward" and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.USub):
                yield node.lineno


def zero_after_backward(tree: ast.Module) -> Iterator[int]:
    """zero_grad between backward and step in the same block."""
    for block in blocks(tree):
        seen = False
        for statement in block:
            names = {last_name(c.func) for c in all_calls(statement)}
            if "backward" in names:
                seen = True
            elif seen and "zero_grad" in names:
                yield statement.lineno
            elif "step" in names:
                seen = False


def no_grad_blocks(tree: ast.Module) -> Iterator[int]:
    """`with torch.no_grad()` and its kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                expr = item.context_expr
                if isinstance(expr, ast.Call) and last_name(expr.func) in {"no_grad", "inference_mode"}:
                    yield node.lineno


def unshuffled_loaders(tree: ast.Module) -> Iterator[int]:
    """DataLoader calls without shuffle=True, those for training first."""
    found = []
    for name, line, value in assignments(tree):
        for call in all_calls(value):
            shuffled = any(
                k.arg in {"shuffle", "sampler", "batch_sampler"} and not is_false(k.value) for k in call.keywords
            )
            if last_name(call.func) == "DataLoader" and not shuffled:
                evaluation = any(w in name.lower() for w in ("val", "test", "eval", "dev"))
                found.append((evaluation, line))
    yield from (line for _, line in sorted(found))


def detached_terms(tree: ast.Module) -> Iterator[int]:
    """Arithmetic with `.item()`, `.detach()` and the like inside a sum."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            for call in all_calls(node):
                if last_name(call.func) in {"item", "detach", "numpy", "tensor", "float", "as_tensor"}:
                    yield call.lineno
            yield from (n.lineno for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "data")


CHOICES = frozenset({
    "argmax", "argmin", "bernoulli", "ceil", "floor", "multinomial", "one_hot", "round", "sign",
})  # fmt: skip
"""Operations that have no gradient."""
COPIES = frozenset({"detach", "item", "numpy"})
"""Ways out of the graph."""


def hard_choices(tree: ast.AST, names: frozenset[str] = CHOICES | COPIES) -> Iterator[int]:
    """Operations without a gradient inside a forward method (or any function that is not a metric)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (
            node.name == "forward" or "select" in node.name or "route" in node.name
        ):
            yield from (c.lineno for c in all_calls(node) if last_name(c.func) in names)
            yield from (n.lineno for n in ast.walk(node) if isinstance(n, ast.Compare) and feeds_arithmetic(n))


def shifted_slices(tree: ast.Module) -> Iterator[int]:
    """Slices that drop one end of a sequence: `x[:, 1:]`, `x[:, :-1]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for part in parts:
                if isinstance(part, ast.Slice) and part.step is None and (small(part.lower) or small(part.upper)):
                    yield node.lineno


def recurrent_reads(tree: ast.Module) -> Iterator[int]:
    """Subscripts by a constant in the forward method of a class with a recurrent layer."""
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if not any(
            last_name(c.func) in {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"} for c in all_calls(cls)
        ):
            continue
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "forward"):
            for node in ast.walk(method):
                if isinstance(node, ast.Subscript) and not isinstance(node.value, ast.Attribute):
                    yield node.lineno


def whole_numbers(tree: ast.Module) -> Iterator[int]:
    """Places where values become integers: `.long()`, `astype(int)`, `dtype=torch.int64` and the like."""
    kinds = {"int", "long", "int8", "int16", "int32", "int64", "uint8"}
    for call in all_calls(tree):
        method = isinstance(call.func, ast.Attribute) and last_name(call.func) in kinds | {"LongTensor", "IntTensor"}
        given = [k.value for k in call.keywords if k.arg == "dtype"]
        if last_name(call.func) in {"astype", "to", "type"}:
            given += call.args[:1]
        if method or any(isinstance(v, (ast.Name, ast.Attribute)) and last_name(v) in kinds for v in given):
            yield call.lineno


def keeping_branches(tree: ast.Module) -> Iterator[int]:
    """Conditions under which a state is kept: the branch takes a state_dict, a copy, or writes a file."""
    kept = {"state_dict", "deepcopy", "save"}
    larger = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    for node in ast.walk(tree):
        if not isinstance(node, ast.If):
            continue
        ordered = any(isinstance(part, ast.Compare) and isinstance(part.ops[0], larger) for part in ast.walk(node.test))
        if ordered and any(last_name(call.func) in kept for statement in node.body for call in all_calls(statement)):
            yield node.lineno


def criteria(*names: str) -> Finder:
    """Constructors of loss modules (all `…Loss` when none is named)."""

    def find(tree: ast.Module) -> Iterator[int]:
        for call in all_calls(tree):
            last = last_name(call.func)
            if last in names or (not names and last.endswith("Loss")):
                yield call.lineno

    return find
