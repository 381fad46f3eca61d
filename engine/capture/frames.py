"""Where in the user's own code something happened."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

MAX_DEPTH: Final = 200
"""Frames looked at; a recursion deeper than this tells nothing more."""
MAX_MODULE_DEPTH: Final = 12
"""Frames in which a variable that holds a model is looked for: a training framework is rarely deeper."""
_NOTEBOOK: Final = ("<ipython-input", "<cell")

_names: dict[str, str | None] = {}
_base: list[str] = [os.getcwd()]


def _foreign() -> tuple[str, ...]:
    """Folders whose code is not the user's: the standard library, installed packages, and our own."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= set(site.getsitepackages()) | {site.getusersitepackages()}
    engine = Path(__file__).resolve().parent.parent
    paths |= {str(engine), str(engine.parent / "aitia"), str(engine.parent / "agent"), str(engine.parent / "tools")}
    face = sys.modules.get("aitia")
    # Linked rooms are reached through the name plate's folder; programs in evals/ are users' programs all the same.
    for folder in getattr(face, "__path__", ()):
        paths |= {os.path.join(folder, room) for room in ("engine", "agent", "tools")}
        paths |= {os.path.join(folder, name) for name in ("__main__.py", "cli.py", "__init__.py", "notebook.py")}
    return tuple(os.path.join(p, "") if not p.endswith(".py") else p for p in paths if p)


_FOREIGN: Final = _foreign()
_LAUNCH: Final = str(Path(__file__).with_name("launch.py"))


def set_base(*folders: str) -> None:
    """Name files relative to the first of these folders that holds them (working directory, script's folder)."""
    _base[:] = [os.path.abspath(f) for f in folders]
    _names.clear()


def user_file(filename: str) -> str | None:
    """Name under which a user's file is told; None for a file that is not the user's."""
    if filename not in _names:
        _names[filename] = _classify(filename)
    return _names[filename]


def _classify(filename: str) -> str | None:
    if filename.startswith("<"):
        return filename if filename.startswith(_NOTEBOOK) else None
    path = os.path.abspath(filename)
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return None
    if path.startswith(_FOREIGN) or os.path.realpath(path).startswith(_FOREIGN):
        return None
    for folder in _base:
        if path.startswith(os.path.join(folder, "")):
            return os.path.relpath(path, folder).replace(os.sep, "/")
    return os.path.basename(path)


def walk(frame: FrameType | None) -> Iterator[FrameType]:
    """Frames from the innermost outwards."""
    for _ in range(MAX_DEPTH):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def user_frames(start: int = 1) -> Iterator[tuple[FrameType, str]]:
    """The user's frames on the stack, innermost first, each with its file's name."""
    for frame in walk(sys._getframe(start)):
        if frame.f_code.co_filename == _LAUNCH:  # what started us is no part of the program
            return
        name = user_file(frame.f_code.co_filename)
        if name is not None:
            yield frame, name


def user_frame() -> tuple[str, int] | None:
    """Innermost place in the user's code that is running: (file, line)."""
    for frame, name in user_frames(2):
        return name, frame.f_lineno
    return None
