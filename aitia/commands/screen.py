"""What every command prints through: plain words for people, JSON for programs, and no escape code of a stranger."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
"""Terminal escapes, control characters, and characters that reorder or hide text."""
MAX_WIDTH = 110
"""Lines longer than this are hard to read, however wide the terminal."""


def clean(text: str, limit: int = 2000) -> str:
    """Text from a run without control characters and not endless: names, messages and logs are anyone's."""
    text = _CONTROL.sub("", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def console(*, stderr: bool = False) -> Console:
    """A rich console that is never wider than is readable and never interprets square brackets."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    made.width = min(made.width, MAX_WIDTH)
    return made


def say_json(value: Any) -> None:
    """One JSON document on stdout; NaN and infinities become null."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def complain(message: str, *, as_json: bool = False) -> None:
    """One line about what went wrong, on stderr; for programs also as JSON on stdout."""
    line = " ".join(clean(message).split())
    sys.stderr.write(f"aitia: {line}\n")
    if as_json:
        say_json({"error": line})


def here(path: Path) -> str:
    """The path as one would type it in the current folder."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


@contextmanager
def working(words: str) -> Iterator[None]:
    """A spinner with `words` on stderr while something takes time; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(words):
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)
