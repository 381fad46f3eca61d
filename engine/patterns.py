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
    is_optimizer,
    is_scheduler,
    is_true,
    key,
    last_name,
    literals,
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


def frozen(tree: ast.Module) -> Iterator[int]:
    """Assignments to `requires_grad` of anything but True, and calls of `requires_grad_` with anything but True."""
    for name, line, value in assignments(tree):
        if name == "requires_grad" and not (isinstance(value, ast.Constant) and value.value is True):
            yield line
    for call in all_calls(tree):
        if last_name(call.func) == "requires_grad_" and call.args and not is_true(call.args[0]):
            yield call.lineno


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


def horizon(tree: ast.Module) -> Iterator[int]:
    """Constructors of schedulers, each after the literals that lay it out."""
    for call in all_calls(tree):
        if is_scheduler(call):
            parts = [*call.args[1:], *(k.value for k in call.keywords)]
            names = {
                key(n)
                for part in parts
                for n in ast.walk(part)
                if isinstance(n, (ast.Name, ast.Attribute, ast.Subscript))
            }
            yield call.lineno
            yield from (line for name in sorted(names - {""}) for line in literals(tree, name))


def rate(tree: ast.Module) -> Iterator[int]:
    """The literal behind the optimizer's `lr`, followed through names, attributes, dict keys and argparse defaults."""
    for call in all_calls(tree):
        if is_optimizer(call) and len(call.args) > 1:
            second = call.args[1]
            yield from [second.lineno] if isinstance(second, ast.Constant) else literals(tree, key(second))
        for k in call.keywords:
            if k.arg != "lr" or last_name(call.func) in {"add_argument"}:
                continue
            if isinstance(k.value, ast.Constant):
                yield k.value.lineno
            else:
                name = key(k.value)
                yield from (literals(tree, name) if name else ())


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


def guarded_steps(tree: ast.Module) -> Iterator[int]:
    """The condition in front of an optimizer step that was never taken, then the step."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            for call in all_calls(node):
                if last_name(call.func) == "step":
                    yield node.lineno
                    yield call.lineno


def scheduler_steps(tree: ast.Module) -> Iterator[int]:
    """`.step()` on what a scheduler was assigned to."""
    names = {name for name, _, value in assignments(tree) if any(is_scheduler(c) for c in all_calls(value))}
    for call in all_calls(tree):
        if last_name(call.func) == "step" and isinstance(call.func, ast.Attribute) and key(call.func.value) in names:
            yield call.lineno


def detached_terms(tree: ast.Module) -> Iterator[int]:
    """Arithmetic with `.item()`, `.detach()` and the like inside a sum."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            for call in all_calls(node):
                if last_name(call.func) in {"item", "detach", "numpy", "tensor", "float", "as_tensor"}:
                    yield call.lineno
            yield from (n.lineno for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "data")


def hard_choices(tree: ast.Module) -> Iterator[int]:
    """Operations without a gradient inside a forward method (or any function that is not a metric)."""
    names = {
        "argmax",
        "argmin",
        "round",
        "floor",
        "ceil",
        "sign",
        "one_hot",
        "item",
        "numpy",
        "detach",
        "bernoulli",
        "multinomial",
    }
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


def group_lists(tree: ast.Module) -> Iterator[int]:
    """Hand-written parameter groups, and what else is given to an optimizer instead of model.parameters()."""
    assigned = assignments(tree)
    for call in all_calls(tree):
        if not is_optimizer(call) or not call.args:
            continue
        first = call.args[0]
        used = [n.id for n in ast.walk(first) if isinstance(n, ast.Name)]
        for name, line, value in assigned:
            if name in used and not isinstance(value, ast.Call):
                yield from range(line, min(value.end_lineno or line, line + MAX_LINES) + 1)
        yield call.lineno


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
