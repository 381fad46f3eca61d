"""Which runs may go when all of them together are too large: the oldest first, and never one that is needed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aitia.engine.records import RunStatus
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run, list_runs
from aitia.engine.store.remote import remote_of
from aitia.engine.store.schema import RANKS

UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
REMOVED: Final = ".removed-"
"""A run gets this before its name when it goes: from then on it is no run, even if removing it is interrupted."""


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `2.5 GB`, `1TB`, `1000000`.

    Raises:
        AitiaError: it is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if not found:
        raise AitiaError(f"{text!r} is no size; expected for example 500MB or 20GB.")
    return int(float(found[1]) * UNITS[found[2].lower()])


def size_of(path: Path) -> int:
    """Bytes of all files of a run."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += 0 if file.is_symlink() or not file.is_file() else file.stat().st_size
        except OSError:
            continue  # it went away while we looked
    return total


def remove(path: Path) -> None:
    """Remove one run.

    Raises:
        AitiaError: it is still being written, or it is no run.
    """
    if Run(path).info.status is RunStatus.RUNNING:
        raise AitiaError(f"{path.name} is still running; stop it first.")
    _remove(path)


def prune(root: Path, limit: int, needed: Callable[[Run], bool]) -> list[Path]:
    """Remove the oldest runs under `root` until all take at most `limit` bytes; returns what went.

    The newest run, one that is running, one that cannot be read, and one that `needed` wants stay, and count.
    """
    for left in [*root.glob(f"{REMOVED}*"), *(root / RANKS).glob(f"{REMOVED}*")]:
        shutil.rmtree(left, ignore_errors=True)
    found = sorted([*list_runs(root), *list_runs(root / RANKS)], key=lambda p: p.name, reverse=True)
    sizes = {path: size_of(path) for path in found}
    total, gone = sum(sizes.values()), []
    for path in reversed(found[1:]):
        if total <= limit:
            break
        if _free(path, needed):
            _remove(path)
            total -= sizes[path]
            gone.append(path)
    return gone


def _free(path: Path, needed: Callable[[Run], bool]) -> bool:
    try:
        run = Run(path)
        return run.info.status is not RunStatus.RUNNING and not needed(run)
    except (AitiaError, ValueError):
        return False


def _remove(path: Path) -> None:
    remote = remote_of(path.parent)
    if remote is not None:
        try:
            remote.drop(path.name)
        except Exception as error:  # noqa: BLE001 - every file system has errors of its own
            raise AitiaError(f"{remote.url}/{path.name} cannot be removed: {error}") from None
    aside = path.with_name(f"{REMOVED}{path.name}")
    try:
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise AitiaError(f"{path.name} cannot be removed: {error.strerror}.") from None
