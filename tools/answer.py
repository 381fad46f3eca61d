"""The diagnosis of a run as tools hand it out: made by rules, kept beside the run, made anew when it moved on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import ValidationError

from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

FILE = "diagnosis.json"


def diagnosis_of(run: Run, *, fresh: bool = False) -> Diagnosis:
    """The stored rules-made diagnosis where it is newer than the run's data, else a new one (not stored)."""
    if not fresh and (stored := stored_diagnosis(run.path)) is not None:
        return stored
    from aitia.engine.reason import diagnose

    return diagnose(run)


def stored_diagnosis(path: Path) -> Diagnosis | None:
    """What `diagnosis.json` of a run directory says, where it is no link, rules-made, valid and newer than the data."""
    file = path / FILE
    with contextlib.suppress(OSError, ValidationError):
        if file.is_symlink() or file.stat().st_mtime < changed(path):
            return None
        found = Diagnosis.model_validate_json(file.read_bytes())
        # A language model has read the program's text: what it wrote is not handed on as ours.
        return found if found.mode == "rules" and found.run == path.name else None
    return None


def changed(path: Path) -> float:
    """When the data of a run directory changed last (Unix time)."""
    times = [0.0]
    for file in (path / "run.db", path / "run.db-wal", *(path / "series").glob("*.arrow")):
        with contextlib.suppress(OSError):
            stat = file.stat()
            # A reader of a WAL database may leave an empty log behind; nothing was written then.
            times.append(stat.st_mtime if stat.st_size else 0.0)
    return max(times)
