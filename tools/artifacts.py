"""Files of a run as resources: a fixed set of names, safely joined, opened without following links, cut to size."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Final

import numpy as np
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.shared.path_security import PathEscapeError, safe_join

from aitia.engine.store.reader import Array
from aitia.tools.surface import Surface
from aitia.tools.trust import untrusted

MAX_ROWS: Final = 2_000
"""Rows of a series; longer runs are thinned evenly."""
MAX_CHARS: Final = 200_000
TABLES: Final = {"steps.csv": "step", "loss.csv": "loss"}
NAMES: Final = ("diagnosis.json", "steps.csv", "loss.csv", "log.txt", "source/<file>")


def artifact_text(surface: Surface, run: str, artifact: str) -> str:
    """Text of one artifact.

    Raises:
        ResourceNotFoundError: the run or the artifact does not exist.
    """
    try:
        opened = surface.open(run)
    except ToolError as error:
        raise ResourceNotFoundError(str(error)) from None
    if artifact == "diagnosis.json":
        return json.dumps(surface.answer(opened).model_dump(mode="json"), ensure_ascii=False)
    if artifact in TABLES:
        return _csv(opened.table(TABLES[artifact]))
    if artifact == "log.txt":
        return untrusted(_read(opened.path, artifact), MAX_CHARS, tail=True)
    folder, _, file = artifact.partition("/")
    if folder == "source" and file in opened.sources:
        return untrusted(_read(opened.path / folder, file), MAX_CHARS)
    raise ResourceNotFoundError(f"no such artifact; there are {', '.join(NAMES)}")


def _read(folder: Path, artifact: str) -> str:
    missing = ResourceNotFoundError(f"this run has no such file; artifacts are {', '.join(NAMES)}")
    try:
        path = Path(safe_join(folder, artifact))
        # The check above is older than the open below: a link put there meanwhile is refused by the system.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except (PathEscapeError, OSError, ValueError):
        raise missing from None
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4 * MAX_CHARS) if artifact == "log.txt" else 0)
        return file.read(4 * MAX_CHARS).decode("utf-8", "replace")


def _csv(table: dict[str, Array]) -> str:
    columns = [c for c, v in table.items() if len(v) and not np.all(np.isnan(v.astype(np.float64)))]
    if not columns:
        return ""
    n = len(table[columns[0]])
    pick = np.unique(np.linspace(0, n - 1, min(n, MAX_ROWS)).astype(int))
    out = io.StringIO()
    out.write(",".join(columns) + "\n")
    for row in pick:
        out.write(",".join(f"{table[c][row]:.6g}" if table[c][row] == table[c][row] else "" for c in columns) + "\n")
    return out.getvalue()
