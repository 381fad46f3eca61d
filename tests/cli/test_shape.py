"""The command line as a whole: what every command has, and that the README knows it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from aitia.cli import app

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {info.name: info.callback for info in app.registered_commands if info.name and info.callback}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_takes_json(name: str) -> None:
    """Programs can use what people can."""
    assert "as_json" in inspect.signature(COMMANDS[name]).parameters


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does_in_one_line(name: str) -> None:
    """The first line of its docstring is its help."""
    first = (inspect.getdoc(COMMANDS[name]) or "").splitlines()[0]

    assert first.endswith((".", "after it."))
    assert len(first) < 120


def test_the_readme_lists_exactly_the_commands_there_are() -> None:
    """A command that is not in the README does not exist for users, and the other way round."""
    listed = set(re.findall(r"^\| `aitia (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))

    assert listed == set(COMMANDS)
