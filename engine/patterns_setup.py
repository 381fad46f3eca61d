"""Patterns of wrong code where model and optimizer are made: rates, groups, freezing, widths. Reads, never runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from aitia.engine.patterns import MAX_LINES
from aitia.engine.patterns_more import LAYERS
from aitia.engine.syntax import (
    all_calls,
    assignments,
    is_false,
    is_optimizer,
    is_scheduler,
    is_true,
    key,
    last_name,
    literals,
)


def frozen(tree: ast.Module) -> Iterator[int]:
    """What switches gradients off: `requires_grad`, `requires_grad_`, tables that come frozen by default.

    Where it stands in a loop or behind a condition that chooses what is frozen, that line, too; where a function of the
    program is told by an argument, the call that says no.
    """
    for call in all_calls(tree):
        kept = any(k.arg == "freeze" and is_false(k.value) for k in call.keywords)
        if last_name(call.func) == "from_pretrained" and "Embedding" in ast.dump(call.func) and not kept:
            yield call.lineno
    found, switches = [], set()
    given = [(line, value) for name, line, value in assignments(tree) if name == "requires_grad"]
    given += [(c.lineno, c.args[0]) for c in all_calls(tree) if last_name(c.func) == "requires_grad_" and c.args]
    for line, value in given:
        switch = _switched_by(tree, line, value)
        if switch:
            switches.add(switch)
        elif not is_true(value):
            found.append(line)
    for call in all_calls(tree):
        told = [*call.args, *(k.value for k in call.keywords)]
        if last_name(call.func) in switches and any(is_false(a) for a in told):
            yield call.lineno
    for line in found:
        yield line
        yield from _chosen_by(tree, line)


def _switched_by(tree: ast.Module, line: int, value: ast.expr) -> str:
    """Name of the function whose own argument is the value, or nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.lineno < line <= (node.end_lineno or 0):
            arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            if isinstance(value, ast.Name) and value.id in arguments:
                return node.name
    return ""


def _chosen_by(tree: ast.Module, line: int) -> Iterator[int]:
    """The loop or condition right around a line."""
    around = [n for n in ast.walk(tree) if isinstance(n, (ast.For, ast.If)) and n.lineno < line <= (n.end_lineno or 0)]
    if around:
        yield max(n.lineno for n in around)


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


def guarded_steps(tree: ast.Module) -> Iterator[int]:
    """The condition in front of an optimizer step that was never taken, then the step."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            for call in all_calls(node):
                if last_name(call.func) == "step":
                    yield node.lineno
                    yield call.lineno


def scheduler_steps(tree: ast.Module) -> Iterator[int]:
    """`.step()` on what a scheduler was assigned to, the most deeply nested loop first, then where it was built."""
    made = [(name, line) for name, line, value in assignments(tree) if any(is_scheduler(c) for c in all_calls(value))]
    names = {name for name, _ in made}
    loops = [n for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While))]
    found = []
    for call in all_calls(tree):
        owner = key(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if last_name(call.func) == "step" and (owner in names):
            depth = sum(n.lineno < call.lineno <= (n.end_lineno or 0) for n in loops)
            found.append((-depth, call.lineno))
    yield from (line for _, line in sorted(found))
    if found:
        yield from (line for _, line in reversed(made))


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


def biases(tree: ast.Module) -> Iterator[int]:
    """Lines that set a bias by hand: `zeros_(x.bias)`, `x.bias.data.zero_()`."""
    for call in all_calls(tree):
        inside = [n for n in ast.walk(call) if isinstance(n, ast.Attribute) and n.attr == "bias"]
        if inside and last_name(call.func).endswith("_"):
            yield call.lineno


def widths(tree: ast.Module) -> Iterator[int]:
    """Where the numbers come from that lay out hidden layers, the smallest first; through names and functions."""
    layers = [c for c in all_calls(tree) if last_name(c.func) in LAYERS and len(c.args) > 1]
    found = [pair for call in layers[:-1] for pair in _numbers(tree, call.args[1], set())]
    yield from (line for _, line in sorted(found))


def _numbers(tree: ast.Module, value: ast.expr, known: set[str]) -> Iterator[tuple[float, int]]:
    """(number, line) of every literal that a value is made of."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            yield node.value, node.lineno
        name = key(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else ""
        if not name or name in known:
            continue
        known.add(name)
        for other, _, assigned in assignments(tree):
            if other == name:
                yield from _numbers(tree, assigned, known)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name == name:
                returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
                for part in returned:
                    yield from ((n, line) for n, line in _numbers(tree, part, known) if line < function.lineno)
        for line in literals(tree, name):
            for given in ast.walk(tree):
                if isinstance(given, ast.Constant) and given.lineno == line and isinstance(given.value, (int, float)):
                    yield given.value, line


def steep_factors(tree: ast.Module) -> Iterator[int]:
    """What the argument of a squashing function is multiplied by or divided by: where that number is given."""
    for call in all_calls(tree):
        if last_name(call.func).lower() not in {"sigmoid", "tanh", "hardtanh", "softsign"}:
            continue
        inside = [n for a in call.args for n in ast.walk(a) if isinstance(n, ast.BinOp)]
        inside += [n for n in ast.walk(call.func) if isinstance(n, ast.BinOp)]
        for node in inside:
            if isinstance(node.op, (ast.Mult, ast.Div)):
                for side in (node.left, node.right):
                    if isinstance(side, ast.Constant):
                        yield side.lineno
                    elif isinstance(side, (ast.Name, ast.Attribute, ast.Subscript)) and (name := key(side)):
                        yield from literals(tree, name)


def early_forwards(tree: ast.Module) -> Iterator[int]:
    """Calls of a model before the first optimizer is built: with made-up numbers, or a method that makes them up."""
    first = min((c.lineno for c in all_calls(tree) if is_optimizer(c)), default=0)
    made_up = {"zeros", "ones", "randn", "rand", "full", "empty", "zeros_like", "ones_like", "randint"}
    methods = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for call in all_calls(node)
        if any(last_name(c.func) in made_up for a in call.args for c in all_calls(a)) and "self" in ast.dump(call.func)
    }
    yield from (c.lineno for c in all_calls(tree) if last_name(c.func) in methods - {"__init__", "forward"})
    for call in all_calls(tree):
        given = any(last_name(c.func) in made_up for a in call.args for c in all_calls(a))
        if given and call.lineno < first and isinstance(call.func, ast.Name) and call.func.id[:1].islower():
            yield call.lineno


def wrong_steps(tree: ast.Module) -> Iterator[int]:
    """The second `.step()` of one optimizer in a block, where another one that was built is never stepped."""
    built = {n for n, _, v in assignments(tree) if any(is_optimizer(c) for c in all_calls(v))}
    stepped = [
        (key(c.func.value), c.lineno)
        for c in all_calls(tree)
        if last_name(c.func) == "step" and isinstance(c.func, ast.Attribute)
    ]
    idle = built - {name for name, _ in stepped}
    lines = [(name, line) for name, line in stepped if name in built]
    for name in sorted({n for n, _ in lines if idle}):
        mine = [line for n, line in lines if n == name]
        yield from reversed(mine[1:])


def plain_tensors(tree: ast.Module) -> Iterator[int]:
    """Attributes of a class that are given a tensor and are neither a buffer nor a parameter, in `__init__` first."""
    makers = {"zeros", "ones", "tensor", "as_tensor", "full", "empty", "from_numpy", "mean", "std", "var", "arange"}
    found = []
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef)):
            for node in ast.walk(method):
                if not isinstance(node, ast.Assign):
                    continue
                targets = [e for t in node.targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
                on_self = any(isinstance(t, ast.Attribute) and last_name(t.value) == "self" for t in targets)
                names = {last_name(c.func) for c in all_calls(node.value)}
                if on_self and names & makers and "Parameter" not in names:
                    found.append((method.name != "__init__", node.lineno))
    yield from (line for _, line in sorted(found))


def fresh_parameters(tree: ast.Module) -> Iterator[int]:
    """Parameters and tensors that are made anew in `forward`."""
    makers = ({"Parameter"}, {"tensor", "as_tensor", "Tensor", "deepcopy", "clone", "detach"})
    methods = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name != "__init__"]
    for names in makers:
        for method in methods:
            made = any(last_name(c.func) == "Parameter" for c in all_calls(method))
            if method.name == "forward" or made:
                yield from (c.lineno for c in all_calls(method) if last_name(c.func) in names)


def hand_written_updates(tree: ast.Module) -> Iterator[int]:
    """Writes to weights in an optimizer of the program's own: what is written to a copy first."""
    found = []
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if not any("Optimizer" in last_name(b) for b in cls.bases):
            continue
        for call in all_calls(cls):
            if last_name(call.func).endswith("_") and isinstance(call.func, ast.Attribute):
                name = key(call.func.value)
                copied = any(n == name and isinstance(v, ast.Call) for n, _, v in assignments(cls))
                found.append((not copied, call.lineno))
    yield from (line for _, line in sorted(found))


def decisions(tree: ast.Module) -> Iterator[int]:
    """Lines that turn outputs into classes: an argmax, a rounding, a threshold that is no condition of a branch."""
    words = ("accuracy", "precision", "recall", "f1", "confusion", "predict", "classif")
    for call in all_calls(tree):
        name = last_name(call.func).lower()
        if name in {"argmax", "topk", "round", "round_", "max", "sign", "heaviside"} or name.startswith(words):
            yield call.lineno
    tests = {id(n.test) for n in ast.walk(tree) if isinstance(n, (ast.If, ast.While, ast.IfExp, ast.Assert))}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or id(node) in tests:
            continue
        if isinstance(node.ops[0], (ast.Gt, ast.Lt, ast.GtE, ast.LtE)):
            yield node.lineno


def divided_whole(tree: ast.Module) -> Iterator[int]:
    """`x // 255`, and `div(…, rounding_mode="floor")`: what may be left of bytes is 0."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv) and isinstance(node.right, ast.Constant):
            if isinstance(node.right.value, (int, float)) and node.right.value > 1:
                yield node.lineno
        elif isinstance(node, ast.Call) and last_name(node.func) in {"floor_divide", "div", "div_"}:
            modes = [k.value for k in node.keywords if k.arg == "rounding_mode"]
            if last_name(node.func) == "floor_divide" or any(not is_false(m) for m in modes):
                yield node.lineno
