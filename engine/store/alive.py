"""Whether the process that writes a run is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def alive(pid: int | None, host: str | None) -> bool:
    """False when the process is surely gone; that of another machine cannot be asked and is believed."""
    if pid is None or host != socket.gethostname():
        return True
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
