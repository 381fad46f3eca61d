"""Recordings of the program that this process was given, so that a test under proof need not run it once more."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MADE: Final[dict[int | None, Path]] = {}
"""Number of steps (None: the whole program) → the run directory. Empty but in the process of a proof."""
