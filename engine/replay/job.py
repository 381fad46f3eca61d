"""One process of a replay, as it travels as JSON to the process that forks it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Job:
    """One process of a replay, as it travels to the process that forks it."""

    argv: tuple[str, ...]
    """The program and its arguments, or the arguments of pytest."""
    cwd: str
    runs: str
    """Where its recording goes."""
    output: str
    """File for what it prints."""
    seconds: float
    """Deadline."""
    kind: str = "program"
    """`program` or `test`."""
    steps: int | None = None
    """Optimizer steps after which it ends; None: at its own end."""
    changes: str = "[]"
    root: str = ""
    """The original project: entries of the module search path beneath it are turned to the copy."""
    limits: dict[str, int] = field(default_factory=dict)
    """Bytes of `memory` and of one `file`."""
    recorded: dict[str, str] = field(default_factory=dict)
    """For a test: number of steps (`all` for the whole program) → the recording that is judged."""
