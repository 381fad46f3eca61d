"""The accused lines in the user's own source. Reads, never runs, the code; supports an accusation, never makes one.

What was measured often carries a line already (where the loss was called, where the optimizer was built). The line that
is *wrong* may be another: the literal that gave the rate, the slice that shifted the labels. Finders look for it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable

from aitia.engine.finders import FINDERS
from aitia.engine.patterns import MAX_LINES
from aitia.engine.records import SourceLocation
from aitia.engine.store.reader import Run
from aitia.engine.syntax import last_name, made, made_from

SECOND_CHOICE = frozenset({"graph.target_not_detached", "loss.padding_counted", "loss.wrong_for_task"})
"""Causes whose measurement knows the line better than a search: searched lines come after it."""
CRASHES = ("shape.mismatch", "dtype.mismatch", "device.mismatch", "data.index_out_of_range")
"""Causes where the failing line uses a name that was made wrongly elsewhere."""

STORED = ("device.mismatch", "data.index_out_of_range")
"""Of these the ones where rather a stored tensor is wrong, left on its device or too small, than what is passed on."""


def locate(run: Run, cause: str, component: str | None, measured: SourceLocation | None) -> SourceLocation | None:
    """The likeliest lines, at most three: the cause's own pattern, what was measured, where the component is made."""
    if measured is not None and measured.file not in run.sources:
        measured = None  # a line of something else than the program
    known = list(measured.lines) if measured is not None else []
    for name, text in _own_files(run):
        if measured is not None and name != measured.file:
            continue
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        searched = _first_found(tree, cause)
        if cause == "graph.no_grad_region" and known:
            searched, known = _around(tree, known), known[:1]
        near = [line for line in searched if line in known]
        near = near or [line for line in known if line in _found_at_all(tree, cause)]
        if cause in CRASHES and known:
            searched = made_from(tree, known[0], held_first=cause in STORED)
            lines = known + searched
        elif cause in SECOND_CHOICE and known:
            lines = known + searched
        else:
            lines = near + searched + known
        if not lines and component:
            lines = sorted(set(made(tree, component)))
        if lines:
            return SourceLocation(file=name, lines=tuple(dict.fromkeys(lines))[:MAX_LINES])
    return measured


def written(
    run: Run, pattern: Callable[[ast.Module], Iterable[int]], files: Collection[str | None] = ()
) -> SourceLocation | None:
    """Lines of the first of the user's files (or of these) in which a pattern is found; None where it is in none."""
    for name, text in _own_files(run):
        try:
            lines = sorted(set(pattern(ast.parse(text)))) if not files or name in files else []
        except (SyntaxError, ValueError):
            continue
        if lines:
            return SourceLocation(file=name, lines=tuple(lines[:MAX_LINES]))
    return None


def _around(tree: ast.Module, lines: list[int]) -> list[int]:
    """`with no_grad()` blocks (or functions so decorated) that hold one of these running lines; innermost first."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            heads = [item.context_expr for item in node.items]
        elif isinstance(node, ast.FunctionDef):
            heads = list(node.decorator_list)
        else:
            continue
        off = any(last_name(h.func if isinstance(h, ast.Call) else h) in {"no_grad", "inference_mode"} for h in heads)
        inside = [line for line in lines if node.lineno <= line <= (node.end_lineno or node.lineno)]
        if off and inside:
            found.append((lines.index(inside[0]), node.lineno, inside[0]))
    return [line for _, head, body in sorted(found) for line in (head, body)]


def _first_found(tree: ast.Module, cause: str) -> list[int]:
    for finder in FINDERS.get(cause, ()):
        lines = list(dict.fromkeys(finder(tree)))
        if lines:
            return lines
    return []


def _found_at_all(tree: ast.Module, cause: str) -> set[int]:
    return {line for finder in FINDERS.get(cause, ()) for line in finder(tree)}


def _own_files(run: Run) -> list[tuple[str, str]]:
    """The user's files, the script first."""
    script = run.info.script
    return sorted(run.sources.items(), key=lambda item: (item[0] != script, item[0]))
