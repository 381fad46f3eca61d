"""Imports point down: face → agent → journal, tools → engine; only the commands that run evals know evals."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "engine": {"engine"},
    "prompts": {"prompts"},
    "tools": {"tools", "prompts", "engine"},
    "journal": {"journal", "engine"},
    "agent": {"agent", "journal", "tools", "prompts", "engine"},
}
FACE_EXCEPTIONS = {"aitia/commands/evaluate.py": {"evals"}, "aitia/commands/optimize.py": {"evals"}}
ROOMS = {*MAY_IMPORT, "evals"}
HEAVY = {"torch", "dspy", "litellm", "sklearn"}
MAY_IMPORT_TORCH = ("engine/capture/", "engine/replay/", "evals/", "aitia/demo/")


def sources(folder: str) -> list[Path]:
    """All Python files of one room, except the programs under test and recordings of them."""
    found = (ROOT / folder).rglob("*.py")
    return sorted(p for p in found if not {"programs", ".cache"} & set(p.parts) and not _linked(p))


def _linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != ROOT)


def imported(path: Path, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """(module, line) of every import in the file; with `top_only` those that run when it is imported."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    inside |= {id(n) for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
               for n in ast.walk(i)}  # fmt: skip
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    """No import, not even a late one, points up."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(room)
        for module, line in imported(path)
        if module.startswith("aitia.") and module.split(".")[1] not in MAY_IMPORT[room] | {""}
    ]

    assert wrong == []


def test_nothing_but_its_command_imports_evals() -> None:
    """The benchmark judges the engine, so the engine must not be able to look at it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources("aitia")
        for module, line in imported(path)
        if module.startswith("aitia.evals") and path.relative_to(ROOT).as_posix() not in FACE_EXCEPTIONS
    ]

    assert wrong == []


@pytest.mark.parametrize("room", sorted(ROOMS | {"aitia", "tests"}))
def test_rooms_are_never_imported_by_their_bare_names(room: str) -> None:
    """`engine` alone would be the user's own engine.py inside a watched process."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(room)
        for module, line in imported(path)
        if module.split(".")[0] in ROOMS
    ]

    assert wrong == []


@pytest.mark.parametrize("room", sorted(ROOMS | {"aitia"}))
def test_heavy_libraries_load_only_where_they_are_needed(room: str) -> None:
    """torch, dspy and the like are imported at the top only by the rooms that run inside a training process."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(room)
        for module, line in imported(path, top_only=True)
        if module.split(".")[0] in HEAVY and not path.relative_to(ROOT).as_posix().startswith(MAY_IMPORT_TORCH)
    ]

    assert wrong == []


def test_the_guard_itself_sees_late_and_early_imports(tmp_path: Path) -> None:
    """A guard that finds nothing must not be blind."""
    file = tmp_path / "x.py"
    file.write_text("import torch\ndef f():\n    from aitia.agent import fix\n")

    assert ("aitia.agent", 3) in list(imported(file))
    assert [m for m, _ in imported(file, top_only=True)] == ["torch"]
