"""Reading a syntax tree: calls, assignments, names, literals."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def all_calls(tree: ast.AST) -> Iterator[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    yield from sorted(found, key=lambda c: (c.lineno, c.col_offset))


def assignments(tree: ast.AST) -> list[tuple[str, int, ast.expr]]:
    """(name, line, value) of assignments to names, attributes and keys, in order of lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [pair for t in node.targets for pair in _unpacked(t, node.value)]
            found += [(name, node.lineno, value) for target, value in pairs if (name := key(target))]
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None and (name := key(node.target)):
            found.append((name, node.lineno, node.value))
    return sorted(found, key=lambda item: item[1])


def _unpacked(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Targets of one assignment with what each is given; of `a, b = f()` both are given the call."""
    if not isinstance(target, (ast.Tuple, ast.List)):
        return [(target, value)]
    values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
    if len(values) != len(target.elts):
        values = [value] * len(target.elts)
    return list(zip(target.elts, values, strict=True))


def literals(tree: ast.Module, name: str) -> Iterator[int]:
    """Lines where something of this name gets a number: assignment, dict entry, keyword, default, argparse."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name and isinstance(value, ast.Constant):
                    yield value.lineno
        elif isinstance(node, ast.Call):
            options = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if last_name(node.func) == "add_argument" and any(o.lstrip("-").replace("-", "_") == name for o in options):
                yield node.lineno
            yield from (k.value.lineno for k in node.keywords if k.arg == name and isinstance(k.value, ast.Constant))
        elif isinstance(node, ast.arguments):
            positional = node.posonlyargs + node.args
            pairs = list(zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True))
            pairs += [(a, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d is not None]
            yield from (d.lineno for a, d in pairs if a.arg == name and isinstance(d, ast.Constant))
    yield from (line for key, line, value in assignments(tree) if key == name and isinstance(value, ast.Constant))


def made(tree: ast.Module, component: str) -> Iterator[int]:
    """Assignments to the component's last attribute name: `self.fc = …`, `model.fc = …`."""
    parts = [p for p in component.split(".") if not p.isdigit() and p not in {"weight", "bias"}]
    for wanted in reversed(parts):
        lines = [line for name, line, _ in assignments(tree) if name == wanted]
        if lines:
            yield from lines
            return


def made_from(tree: ast.Module, line: int, *, held_first: bool = False) -> list[int]:
    """Where that was made which a failing line uses: last assignments of the names it passes on, in the same function,
    and what its object holds. The latter comes first where sizes and devices of stored tables are at fault."""
    scope: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or node.lineno):
            scope = node
    used = {
        a.id
        for node in ast.walk(scope)
        if isinstance(node, ast.Call) and node.lineno == line
        for a in ast.walk(node)
        if isinstance(a, ast.Name)
    }
    found = [at for name, at, _ in assignments(scope) if name in used and at < line]
    names, held = sorted(set(found), reverse=True), list(_held(tree, line))
    return [*held, *names][:2] if held_first else [*names[:1], *held[:1], *names[1:]][:2]


def _held(tree: ast.Module, line: int) -> Iterator[int]:
    """Where the object made what this line of its takes from itself, and who built the object that way."""
    for cls in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if not cls.lineno <= line <= (cls.end_lineno or cls.lineno):
            continue
        taken = [
            n
            for n in ast.walk(cls)
            if isinstance(n, ast.Attribute) and n.lineno == line and last_name(n.value) == "self"
        ]
        maker = next((m for m in cls.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"), None)
        given = {a.arg for a in maker.args.args[1:]} if maker is not None else set()
        for name, at, value in assignments(maker) if maker is not None else ():
            if name in {n.attr for n in taken} and isinstance(value, ast.Call):
                yield at
                if given & {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}:
                    yield from (c.lineno for c in all_calls(tree) if last_name(c.func) == cls.name)


def key(node: ast.expr) -> str:
    """Last name of a target or value: `lr`, `self.lr`, `config["lr"]` → `lr`."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    return last_name(node)


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_scheduler(call: ast.Call) -> bool:
    last = last_name(call.func)
    return (
        last.endswith("LR")
        or last in {"ReduceLROnPlateau", "CosineAnnealingWarmRestarts"}
        or "schedule" in last.lower()
    )


def is_optimizer(call: ast.Call) -> bool:
    names = {
        "SGD",
        "Adam",
        "AdamW",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "NAdam",
        "RAdam",
        "LBFGS",
        "Adamax",
        "Muon",
        "SparseAdam",
    }
    return last_name(call.func) in names


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in {False, None}


def is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def small(node: ast.expr | None) -> bool:
    """1, 2, -1, -2."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and node.value in {1, 2}


def feeds_arithmetic(node: ast.Compare) -> bool:
    """A comparison with a number, as in `(x > 0.5).float()`."""
    return any(isinstance(c, ast.Constant) and isinstance(c.value, float) for c in node.comparators)


def blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block
