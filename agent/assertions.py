"""Checks on the body of a regression test that a language model wrote, before anything of it is run.

It may read the recording and compute with numpy; it may not import, define, open, write, or swallow anything, and it
has to assert something that depends on the recording.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

MAX_LINES = 25
"""A test that needs more asserts more than one thing."""
HELPERS: Final = frozenset({"finite", "largest_update", "update_ratios", "causes"})
"""What `aitia.testing` offers to a test."""
BUILTINS: Final = frozenset({
    "len", "max", "min", "sum", "any", "all", "abs", "sorted", "range", "enumerate", "zip", "float", "int", "bool",
    "str", "list", "dict", "set", "tuple", "round", "True", "False", "None",
})  # fmt: skip
OF_RUN: Final = frozenset({
    "table", "scalar", "of_parameter", "of_layer", "facts", "fact", "parameters", "layers", "optimizers", "losses",
    "n_steps", "info",
})  # fmt: skip
"""What a test may ask of a recording."""
OF_NUMPY: Final = frozenset({
    "abs", "all", "any", "array", "asarray", "allclose", "argmax", "argmin", "count_nonzero", "diff", "inf", "isfinite",
    "isnan", "log", "log10", "max", "maximum", "mean", "median", "min", "minimum", "nan", "nanmax", "nanmean",
    "nanmedian", "nanmin", "percentile", "quantile", "sqrt", "std", "sum", "unique", "var", "where",
})  # fmt: skip
NO_METHODS: Final = frozenset({
    "tofile", "dump", "dumps", "save", "write", "writelines", "write_text", "write_bytes", "open", "unlink", "rename",
    "replace", "rmdir", "mkdir", "touch", "chmod", "symlink_to", "format", "format_map", "setflags", "ctypes", "system",
})  # fmt: skip
"""Methods of arrays, paths and strings that leave the recording."""
STATEMENTS: Final = (ast.Assign, ast.Assert, ast.For, ast.If, ast.Expr)
LEFT_OUT: Final = (ast.Lambda, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.Starred)


def problems_of(body: str) -> list[str]:
    """What keeps this body from being run, in words that its writer can act on; empty when nothing does."""
    try:
        tree = ast.parse(body)
    except (SyntaxError, ValueError) as error:
        return [f"the test does not parse: {error}"]
    if len(body.splitlines()) > MAX_LINES:
        return [f"the test has {len(body.splitlines())} lines; {MAX_LINES} are enough"]
    return list(dict.fromkeys([*_refused(tree), *_empty(tree)]))


def helpers_of(body: str) -> tuple[str, ...]:
    """The helpers that the body uses, as the test's imports name them."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    return tuple(sorted(used & (HELPERS | {"np"})))


def _refused(tree: ast.Module) -> Iterator[str]:
    """Everything that the test may not do."""
    made = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    in_place = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | _given_to_helpers(tree)
    known = made | HELPERS | BUILTINS | {"run", "np"}
    for taken in sorted(made & (HELPERS | BUILTINS | {"run", "np"})):
        yield f"a test may not give {taken} another meaning"
    for node in ast.walk(tree):
        if isinstance(node, LEFT_OUT) or (isinstance(node, ast.stmt) and not isinstance(node, STATEMENTS)):
            yield f"a test may not use {type(node).__name__.lower()}"
        elif isinstance(node, ast.Name) and node.id in {"run", "np"} and id(node) not in in_place:
            yield f"a test may use {node.id} only as {node.id}.name or, run, as the argument of a helper"
        elif isinstance(node, ast.Name) and node.id not in known:
            yield f"a test may not use {node.id}; there are run, np, {', '.join(sorted(HELPERS))}"
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node)


def _given_to_helpers(tree: ast.Module) -> set[int]:
    """Where `run` is the first argument of a helper."""
    calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    return {
        id(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in HELPERS and call.args and _names(call.args[0]) == {"run"}
    }


def _attribute(node: ast.Attribute) -> Iterator[str]:
    if node.attr.startswith("_") or node.attr in NO_METHODS:
        yield f"a test may not use {node.attr}"
    owner = node.value.id if isinstance(node.value, ast.Name) else None
    for name, allowed in (("run", OF_RUN), ("np", OF_NUMPY)):
        if owner == name and node.attr not in allowed:
            yield f"a test may not use {name}.{node.attr}; there are {', '.join(sorted(allowed))}"


def _empty(tree: ast.Module) -> Iterator[str]:
    """Whether the test asserts nothing that depends on the recording."""
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    if not asserts:
        yield "a test has to assert something"
    measured = _depends(tree)
    for node in asserts:
        if not _names(node.test) & measured:
            yield "what is asserted does not depend on the recording"
        elif isinstance(node.test, ast.Compare) and _same(node.test):
            yield "what is asserted compares a value with itself"
        if node.msg is None:
            yield "an assertion needs a message that tells the measured value"


def _depends(tree: ast.Module) -> set[str]:
    """Names whose value comes from the recording."""
    found = {"run"}
    while True:
        more = set(found)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and _names(node.value) & found:
                more |= {n for target in node.targets for n in _names(target)}
            elif isinstance(node, (ast.For, ast.comprehension)) and _names(node.iter) & found:
                more |= _names(node.target)
        if more == found:
            return found
        found = more


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _same(node: ast.Compare) -> bool:
    return any(ast.dump(node.left) == ast.dump(other) for other in node.comparators)
