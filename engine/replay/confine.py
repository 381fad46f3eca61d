"""Where a replayed program may write: its own copy and nothing else, enforced by the kernel where it can.

Linux's Landlock (since 5.13) holds for C++ code and for children, too; elsewhere Python's audit events stand in for it.
Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on all architectures."""
SET_NO_NEW_PRIVILEGES, SET_CHILD_SUBREAPER, SET_PARENT_DEATH_SIGNAL = 38, 36, 1
WRITE_FILE, TRUNCATE, REFER = 1 << 1, 1 << 14, 1 << 13
CHANGES_OF_FOLDERS: Final = sum(1 << bit for bit in range(4, 13))
"""Removing and making of every kind of file."""
DEVICES = ("/dev", "/proc/self")
"""Needed by shared memory of loaders and by terminals."""
WRITING = frozenset({"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink",
                     "os.chmod", "shutil.rmtree", "shutil.move"})  # fmt: skip
"""Audit events that change the file system; `open` is looked at by its mode."""


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        _libc().prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Processes that lose their parent come to this one, so that it can end them."""
    if sys.platform == "linux":
        _prctl(SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """End this process when its parent does."""
    if sys.platform == "linux":
        _prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Direct children of a process, where the system tells."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(p) for p in (task / "children").read_text("ascii").split()]
    return found


def writes_only(folders: Sequence[Path]) -> bool:
    """From now on this process and its children write only beneath these folders; whether the kernel enforces it."""
    allowed = [os.path.realpath(f) for f in folders]
    sys.addaudithook(lambda event, args: _audit(event, args, allowed))
    with suppress(OSError, AttributeError):
        return sys.platform == "linux" and _landlock(allowed)
    return False


def available() -> bool:
    """Whether the kernel can confine a process."""
    with suppress(OSError, AttributeError):
        return sys.platform == "linux" and bool(_libc().syscall(CREATE_RULESET, None, 0, 1) >= 1)
    return False


def _landlock(allowed: Sequence[str]) -> bool:
    libc = _libc()
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = WRITE_FILE | CHANGES_OF_FOLDERS | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", rights)
    ruleset = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    for folder in (*allowed, *DEVICES):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
            os.close(descriptor)
    _prctl(SET_NO_NEW_PRIVILEGES, 1)
    done = bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    os.close(ruleset)
    return done


def _audit(event: str, args: tuple[Any, ...], allowed: Sequence[str]) -> None:
    if event == "open":
        path, mode, flags = args
        writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        paths = [path] if writing or (isinstance(mode, str) and set(mode) & set("wax+")) else []
    elif event in WRITING:
        paths = [a for a in args[:2] if isinstance(a, (str, bytes))]
    else:
        return
    for path in paths:
        if not isinstance(path, (str, bytes)):
            continue
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == f or real.startswith(f + os.sep) for f in (*allowed, *DEVICES)):
            raise PermissionError(f"a replay writes only inside its copy of the project, not to {real}")
