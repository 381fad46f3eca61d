"""Whether the process that writes a run is still there."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Final

SILENT_SECONDS: Final = 3600.0
"""A process of another machine cannot be asked. It wrote twice a second, so after an hour of silence it is gone, and
neither a slow network nor clocks that differ explain that."""


def alive(pid: int | None, host: str | None, heartbeat: float | None = None) -> bool:
    """False when the process is surely gone; `heartbeat` is when it last wrote."""
    if pid is None:
        return True
    if host != socket.gethostname():
        return heartbeat is None or time.time() - heartbeat < SILENT_SECONDS
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Whether that process is over and only waits for its parent to notice (Linux; elsewhere never)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:1]
    except OSError:
        return False
    return state == ["Z"]
