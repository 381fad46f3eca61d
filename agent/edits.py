"""Search/replace edits on a script: applied by us, exactly once each, and checked before anything is run."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Sequence

from aitia.agent.program import Edit

MAX_LINES = 20
"""A repair that rewrites more than this is another program."""
MAY_IMPORT = frozenset({
    "torch", "numpy", "math", "copy", "random", "itertools", "functools", "collections", "contextlib",
})  # fmt: skip
"""What a repair may newly import."""
FORBIDDEN_CALLS = frozenset({
    "eval", "exec", "compile", "__import__", "open", "input", "breakpoint", "globals", "setattr", "delattr", "vars",
})  # fmt: skip
FORBIDDEN_NAMES = frozenset({
    "system", "popen", "Popen", "subprocess", "socket", "urlopen", "rmtree", "unlink", "remove", "hub",
    "__subclasses__", "__globals__", "__builtins__", "nan_to_num", "nan_to_num_",
})  # fmt: skip
"""Ways out of the program, and the one that hides a fault instead of removing it."""
SIMILAR = 3
"""Lines that an error offers instead of one that was not found."""


class EditError(ValueError):
    """An edit that cannot be applied, in words that its writer can act on."""


def apply_edits(source: str, edits: Sequence[Edit]) -> str:
    """The edited script. Raises `EditError` for anything ambiguous, unsafe, too large or not Python."""
    if not edits:
        raise EditError("there are no edits")
    lines = source.split("\n")
    for number, edit in enumerate(edits, 1):
        lines = _one(lines, edit, number)
    text = "\n".join(lines)
    if text == source:
        raise EditError("the edits change nothing")
    try:
        after = ast.parse(text)
    except SyntaxError as error:
        raise EditError(f"the edited script does not parse: line {error.lineno}: {error.msg}") from None
    changed = [line for line in difflib.ndiff(source.splitlines(), text.splitlines()) if line[:2] in {"+ ", "- "}]
    if len(changed) > 2 * MAX_LINES:
        raise EditError(f"the edits touch {len(changed)} lines; a repair touches at most {MAX_LINES}")
    problems = list(_added(ast.parse(source), after))
    if problems:
        raise EditError("; ".join(problems))
    return text


def _one(lines: list[str], edit: Edit, number: int) -> list[str]:
    want = [line.rstrip() for line in edit.search.strip("\n").split("\n")]
    new = [line.rstrip() for line in edit.replace.strip("\n").split("\n")] if edit.replace.strip() else []
    if not any(want):
        raise EditError(f"edit {number}: the search text is empty")
    bare = [line.rstrip() for line in lines]
    at = [i for i in range(len(bare) - len(want) + 1) if bare[i : i + len(want)] == want]
    if not at:  # the same lines at another depth: models lose the common indentation
        stripped, sought = [line.strip() for line in bare], [line.strip() for line in want]
        at = [i for i in range(len(bare) - len(want) + 1) if stripped[i : i + len(want)] == sought]
        if len(at) == 1:
            new = list(_shifted(new, _indent(want[0]), _indent(bare[at[0]])))
    if len(at) != 1:
        close = difflib.get_close_matches(
            want[0].strip(), [line.strip() for line in bare if line.strip()], SIMILAR, 0.5
        )
        hint = f" Similar lines: {close}" if not at and close else ""
        raise EditError(f"edit {number}: its search text stands in {len(at)} places instead of one.{hint}")
    return [*lines[: at[0]], *new, *lines[at[0] + len(want) :]]


def _shifted(lines: list[str], given: str, wanted: str) -> Iterator[str]:
    for line in lines:
        rest = line.removeprefix(given) if line.startswith(given) else line.lstrip()
        yield wanted + rest if line else line


def _indent(line: str) -> str:
    return re.match(r"\s*", line).group(0)  # type: ignore[union-attr]  # matches the empty text, too


def _added(before: ast.AST, after: ast.AST) -> Iterator[str]:
    """What the edits newly do and a repair has no business doing."""
    for module in sorted(set(_imports(after)) - set(_imports(before))):
        if module.split(".")[0] not in MAY_IMPORT:
            yield f"a repair may not import {module}"
    for name in sorted(set(_names(after)) - set(_names(before))):
        yield f"a repair may not use {name}"


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield node.func.id
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_NAMES:
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            yield node.id
