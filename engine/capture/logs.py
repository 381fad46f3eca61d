"""What the program prints, warns of and consists of: copies for the run, while the real streams stay as they are."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from aitia.engine.capture.frames import user_file, walk

if TYPE_CHECKING:
    from aitia.engine.capture.session import Session

MAX_LOG: Final = 50_000_000
"""Bytes of output that are kept."""
MAX_FILES: Final = 200
MAX_FILE: Final = 1_000_000
"""Bytes of one source file; what is longer is data in disguise."""
MAX_WARNINGS: Final = 200


_MODES: Final = os.path.join("torch", "overrides.py")
_OWN: Final = os.path.dirname(os.path.realpath(__file__)) + os.sep


class Tee:
    """Copies what is written to a stream into the log, through the stream's own `write`: it stays the same object."""

    def __init__(self, stream: Any, log: TextIO) -> None:
        self._stream = stream
        self._log: TextIO | None = log
        self._size = 0
        self._pid = os.getpid()
        self._write = stream.write
        with contextlib.suppress(AttributeError, TypeError):
            stream.write = self.write

    def write(self, text: str) -> int:
        """Write, then copy."""
        written: int = self._write(text)
        log = self._log
        if log is not None and self._size < MAX_LOG and os.getpid() == self._pid:
            self._size += len(text)
            with contextlib.suppress(Exception):
                log.write(text)
        return written

    def restore(self) -> None:
        """Take the copy away."""
        self._log = None
        with contextlib.suppress(AttributeError):
            if getattr(self._stream, "__dict__", {}).get("write") == self.write:
                del self._stream.write


class Logs:
    """Output and warnings of one run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._file = open(session.path / "log.txt", "a", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115
        self._tees = [Tee(s, self._file) for s in (sys.stdout, sys.stderr) if s is not None]
        self._count = 0
        self._detours: dict[tuple[str, str, int], tuple[str, int]] = {}
        self._show = warnings.showwarning
        warnings.showwarning = self._showwarning

    def _showwarning(self, message: Any, category: Any, filename: str, lineno: int, *rest: Any, **more: Any) -> None:
        if _is_detour(filename):
            detour, (filename, lineno) = (filename, lineno), _outside(filename, lineno)
            first = self._detours.setdefault((str(message), filename, lineno), detour)
            if first != detour:
                return  # shown for this place already; coming another way of ours, python does not know it again
            rest, more = (), {k: v for k, v in more.items() if k != "line"}
        self._count += 1
        if self._count <= MAX_WARNINGS:
            with contextlib.suppress(Exception):
                name = user_file(filename)
                data = {"category": category.__name__, "message": str(message)[:2000]}
                self._session.fact("warning", data=data, where=(name, lineno) if name else None)
        self._show(message, category, filename, lineno, *rest, **more)

    def close(self) -> None:
        """Restore the streams."""
        if warnings.showwarning == self._showwarning:
            warnings.showwarning = self._show
        for tee in self._tees:
            tee.restore()
        with contextlib.suppress(Exception):
            self._file.close()


def _outside(filename: str, lineno: int) -> tuple[str, int]:
    """A warning that counts callers and lands in one of our wrappers is meant for the wrapper's caller."""
    inside = inner_was_torch = False
    for frame in walk(sys._getframe(1)):
        path = frame.f_code.co_filename
        if path == filename:
            inside = True
        if inside and not _is_detour(path) and not inner_was_torch:
            return path, frame.f_lineno
        inner_was_torch = path.endswith(_MODES)  # its caller is only there for the function mode's sake
    return filename, lineno


def _is_detour(path: str) -> bool:
    return path.endswith(_MODES) or os.path.realpath(path).startswith(_OWN)


class Sources:
    """Copies of the user's own files: the script at the start, its modules when they are there."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: set[str] = set()

    def keep(self, path: str) -> None:
        """Keep one file if it is the user's."""
        name = user_file(path)
        if name is None or name in self._kept or len(self._kept) >= MAX_FILES or name.startswith(("<", "..")):
            return
        with contextlib.suppress(OSError):
            if os.path.getsize(path) <= MAX_FILE:
                self._session.writer.source(name, Path(path).read_bytes())
                self._kept.add(name)

    def look(self) -> None:
        """Keep what has been imported by now."""
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path.endswith(".py"):
                self.keep(path)
