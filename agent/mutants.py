"""Mutants of a repair: the repaired program with one part of the repair taken back, on which its test must be red."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One mutant."""

    files: dict[str, str]
    what: str
    """What was taken back."""


def mutants(before: Mapping[str, str], after: Mapping[str, str]) -> list[Mutant]:
    """The mutants of a change: neutralised where it only adds statements, else taken back in part or as a whole."""
    found = [m for m in (_neutralised(before, after), _in_part(before, after)) if m is not None]
    return [*found, Mutant({n: before[n] for n in after}, "the repair taken back")]


def _neutralised(before: Mapping[str, str], after: Mapping[str, str]) -> Mutant | None:
    """Added statements stay in the text and never run."""
    files: dict[str, str] = {}
    for name, text in after.items():
        lines, old = text.splitlines(), before[name].splitlines()
        for tag, _, _, j1, j2 in reversed(difflib.SequenceMatcher(a=old, b=lines, autojunk=False).get_opcodes()):
            if tag == "equal":
                continue
            added = [line for line in lines[j1:j2] if line.strip()]
            if tag != "insert" or not added or any(_opens(line) for line in added):
                return None
            indent = added[0][: len(added[0]) - len(added[0].lstrip())]
            lines[j1:j2] = [f"{indent}if False:", *(f"    {line}" for line in lines[j1:j2])]
        files[name] = "\n".join(lines) + "\n"
        if not _parses(files[name]):
            return None
    return Mutant(files, "its statements never run")


def _opens(line: str) -> bool:
    """Whether a line is no statement of its own, or one that others need."""
    text = line.strip()
    unfinished = text.endswith((":", "\\", "(", "[", "{", ","))
    return unfinished or text.startswith(("import ", "from ", "def ", "class ", "@"))


def _in_part(before: Mapping[str, str], after: Mapping[str, str]) -> Mutant | None:
    """The largest of several changes is taken back, the others stay."""
    parts = []
    for name, text in after.items():
        old, new = before[name].splitlines(), text.splitlines()
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
            if tag != "equal":
                parts.append((i2 - i1 + j2 - j1, name, [*new[:j1], *old[i1:i2], *new[j2:]], j1 + 1))
    if len(parts) < 2:
        return None
    for _, name, lines, line in sorted(parts, key=lambda p: -p[0]):
        text = "\n".join(lines) + "\n"
        if _parses(text):
            return Mutant({**after, name: text}, f"the change at line {line} taken back")
    return None


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
