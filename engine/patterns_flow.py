"""Patterns of wrong code that follow a value: who stops the loop, who weighs a class, where a name is made."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from aitia.engine.patterns import Finder, calls
from aitia.engine.syntax import all_calls, assignments, is_optimizer, key, last_name, literals

LOOPS = (ast.For, ast.While, ast.AsyncFor)


def stoppers(tree: ast.Module) -> Iterator[int]:
    """What ends a loop early: where the rule is made that a `break` asks, its defaults, the numbers compared with."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.If) or not any(isinstance(s, ast.Break) for s in node.body):
            continue
        asked = [_base(c.func) for c in all_calls(node.test)]
        made = [(line, v) for n, line, v in assignments(tree) if n in asked and isinstance(v, ast.Call)]
        for line, value in made:
            bare = isinstance(value, ast.Call) and not value.args and not value.keywords
            yield from _defaults(tree, last_name(value.func)) if isinstance(value, ast.Call) and bare else [line]
        names = {
            key(n) for n in ast.walk(node.test) if isinstance(n, (ast.Name, ast.Attribute)) and key(n) not in asked
        }
        if not made:
            yield from (line for name in sorted(names) for line in literals(tree, name))
        yield node.lineno


def _base(node: ast.expr) -> str:
    """`stop` of `stop(x)`, `stop.update(x)`; `stop` of `self.stop(x)` too."""
    if isinstance(node, ast.Attribute):
        inner = _base(node.value)
        return node.attr if inner in {"self", ""} else inner
    return node.id if isinstance(node, ast.Name) else ""


def _defaults(tree: ast.Module, name: str) -> Iterator[int]:
    """Where a class or function of this name says what holds when nothing is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield from (m.lineno for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__")
        elif isinstance(node, ast.FunctionDef) and node.name == name:
            yield node.lineno


def lengths(tree: ast.Module) -> Iterator[int]:
    """How long is trained: the number behind the `range` of loops around `backward`, or a call of what holds it."""
    inner = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _calls(node, {"backward"})}
    for node in ast.walk(tree):
        if not isinstance(node, ast.For) or not (_calls(node, {"backward"}) or _calls(node, inner)):
            continue
        for call in all_calls(node.iter):
            if last_name(call.func) in {"range", "trange"} and call.args:
                last = call.args[min(1, len(call.args) - 1)]
                if isinstance(last, ast.Constant):
                    yield node.lineno
                else:
                    yield from literals(tree, key(last))


def _calls(node: ast.AST, names: set[str]) -> bool:
    return any(last_name(c.func) in names for c in all_calls(node))


def repeated(*names: str) -> Finder:
    """Calls of these: where they stand in a loop themselves, or where the function they stand in is called in one."""

    def find(tree: ast.Module) -> Iterator[int]:
        looped = {id(c): c for loop in ast.walk(tree) if isinstance(loop, LOOPS) for c in all_calls(loop)}
        holders = [f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and _calls(f, set(names))]
        own = [c for c in looped.values() if last_name(c.func) in names]
        yield from sorted({c.lineno for c in looped.values() if last_name(c.func) in holders})
        yield from sorted({c.lineno for c in own})

    return find


def class_weights(tree: ast.Module) -> Iterator[int]:
    """Where the weights of classes are made that a loss is given, then where they are given."""
    given = []
    for call in all_calls(tree):
        for k in call.keywords:
            if k.arg in {"weight", "pos_weight", "weights"} and not is_optimizer(call):
                names = {key(n) for n in ast.walk(k.value) if isinstance(n, (ast.Name, ast.Attribute, ast.Subscript))}
                yield from _computed(tree, names)
                yield from (line for name, line, value in assignments(tree) if name in names and not _parameter(value))
                given.append(k.value.lineno)
    yield from given


def _computed(tree: ast.Module, names: set[str]) -> Iterator[int]:
    """Arithmetic inside of functions with one of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            made = [s for s in ast.walk(node) if isinstance(s, (ast.Assign, ast.Return)) and s.value is not None]
            yield from (s.lineno for s in made if any(isinstance(n, ast.BinOp) for n in ast.walk(s)))


def target_makers(tree: ast.Module) -> Iterator[int]:
    """Where targets are made, backwards from losses and data sets: entries that are set, values that are computed."""
    wanted: set[str] = set()
    for call in all_calls(tree):
        last = last_name(call.func).lower()
        if (last.endswith(("loss", "cross_entropy", "criterion")) or last == "tensordataset") and len(call.args) > 1:
            wanted |= _names(call.args[1])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__getitem__":
            for s in ast.walk(node):
                if isinstance(s, ast.Return) and isinstance(s.value, ast.Tuple) and s.value.elts:
                    wanted |= _names(s.value.elts[-1])
    made = assignments(tree)
    for _ in range(3):  # a tensor of an array of a column: more hands are seldom between
        wanted |= {n for name, _, value in made if name in wanted for n in _names(value)}
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Subscript) and key(target.value) in wanted:
            yield target.lineno
    changed = [(line, v) for name, line, v in made if name in wanted and not isinstance(v, (ast.Name, ast.Constant))]
    kinds = (ast.BinOp, ast.IfExp, ast.Compare, ast.ListComp)
    computed = [line for line, v in changed if any(isinstance(n, kinds) for n in ast.walk(v))]
    yield from computed[:2]
    yield from (line for line, v in changed if isinstance(v, ast.Call))
    yield from computed[2:]


def _names(node: ast.expr) -> set[str]:
    """Names of values in an expression: of `self.y[i]` it is `y`, of `torch.tensor(labels)` it is `labels`."""
    called = {id(c.func) for c in all_calls(node)}
    parts = [n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute)) and id(n) not in called]
    inner = {id(n.value) for n in parts if isinstance(n, ast.Attribute)}
    indices = {id(n) for s in ast.walk(node) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice)}
    return {key(n) for n in parts if id(n) not in inner and id(n) not in indices} - {"self", "torch", "np", "device"}


def _parameter(value: ast.expr) -> bool:
    """`self.weight = weight` hands on, it makes nothing."""
    return isinstance(value, ast.Name)


def guards(*names: str) -> Finder:
    """Conditions under which these are called, then the calls."""

    def find(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and any(_calls(s, set(names)) for s in node.body) and not _is_main(node):
                yield node.lineno
        yield from calls(*names)(tree)

    return find


def _is_main(node: ast.If) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))


def cuts(tree: ast.Module) -> Iterator[int]:
    """The number at which sequences are cut: behind the name of an upper bound, `ids[:max_len]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for part in parts:
                if (
                    isinstance(part, ast.Slice)
                    and part.lower is None
                    and isinstance(part.upper, (ast.Name, ast.Attribute))
                ):
                    yield from literals(tree, key(part.upper))
    for call in all_calls(tree):
        yield from (k.value.lineno for k in call.keywords if k.arg in {"max_length", "max_len", "truncation"})


def ignored_labels(tree: ast.Module) -> Iterator[int]:
    """Where labels become the one that losses ignore, outside of the losses: `-100`, or the name that holds it."""
    holding = {name for name, _, value in assignments(tree) if _ignored(value)}
    told = {id(k.value) for call in all_calls(tree) for k in call.keywords if k.arg == "ignore_index"}
    tops = {id(value) for _, _, value in assignments(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or id(node) in told or id(node) in tops:
            continue
        named = isinstance(node, (ast.Name, ast.Attribute)) and key(node) in holding and isinstance(node.ctx, ast.Load)
        if named or _ignored(node):
            yield node.lineno


def _ignored(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and node.operand.value == 100
    )


def logged(tree: ast.Module) -> Iterator[int]:
    """Figures that are told in a loop: prints and logs with values in them."""
    tellers = {"print", "info", "log", "debug", "set_postfix", "add_scalar", "write", "log_metrics"}
    for loop in (n for n in ast.walk(tree) if isinstance(n, LOOPS)):
        for call in all_calls(loop):
            values = (
                any(isinstance(n, ast.FormattedValue) for n in ast.walk(call)) or len(call.args) > 1 or call.keywords
            )
            if last_name(call.func) in tellers and values:
                yield call.lineno


def optimizers(tree: ast.Module) -> Iterator[int]:
    """Where optimizers are built."""
    yield from (call.lineno for call in all_calls(tree) if is_optimizer(call))


def sample_reads(tree: ast.Module) -> Iterator[int]:
    """What a data set does to hand out one sample: the statements of `__getitem__` and `__iter__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in {"__getitem__", "__iter__", "__getitems__"}:
            yield from (s.lineno for s in node.body if not isinstance(s, ast.Expr) or isinstance(s.value, ast.Call))


def large_epsilons(tree: ast.Module) -> Iterator[int]:
    """Norms that are made with an epsilon far above those in use, and names that hold one."""
    for call in all_calls(tree):
        name = last_name(call.func)
        second = [] if name == "GroupNorm" else call.args[1:2]
        if "Norm" in name and any(_large(v) for v in [*(k.value for k in call.keywords if k.arg == "eps"), *second]):
            yield call.lineno
    yield from (line for name, line, value in assignments(tree) if "eps" in name.lower() and _large(value))


def _large(value: ast.expr) -> bool:
    """A number above the epsilons of all libraries, 1e-3 at most."""
    number = value.value if isinstance(value, ast.Constant) else None
    return isinstance(number, (int, float)) and not isinstance(number, bool) and number > 1e-2


def unadded_returns(tree: ast.Module) -> Iterator[int]:
    """What modules that are made many times give out without adding anything."""
    repeats = (ast.ListComp, ast.GeneratorExp, *LOOPS)
    many = {last_name(c.func) for node in ast.walk(tree) if isinstance(node, repeats) for c in all_calls(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or node.name not in many:
            continue
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name not in {"forward", "__call__"}:
                continue
            inside = list(ast.walk(method))
            if not any(isinstance(n, (ast.BinOp, ast.AugAssign)) and isinstance(n.op, ast.Add) for n in inside):
                yield from (n.lineno for n in inside if isinstance(n, ast.Return))
