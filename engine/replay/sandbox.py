"""Runs a command on a copy of the user's project: own process group, limits, a clean environment, a deadline.

This protects the working tree and the machine against accidents. It is no security boundary: the program is the user's
own, and it runs because the user asked for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY_SHARE = 0.8
"""Of the machine's memory that one process may fill; more would take the user's other work down with it."""
FILE_BYTES = 1 << 30
"""Largest file that a proof may write."""
COPY_BYTES = 200 << 20
"""Projects up to this size are copied whole; of larger ones only the recorded sources."""
NOT_COPIED = (
    ".git",
    ".aitia",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    "aitia-demo",
)
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
"""No keys, no tokens, no proxies: a training program that needs one cannot be proved here, and says so."""
TAIL = 4000
"""Characters of output that are kept."""

LIMITER = """
import os, sys
try:
    import resource
    for what, value in ((resource.RLIMIT_DATA, {memory}), (resource.RLIMIT_FSIZE, {file}), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (value, value))
except (ImportError, ValueError, OSError):
    pass
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Sets the limits in the new process itself, so that nothing runs between fork and exec."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | None
    """Exit code; None when the deadline killed it."""
    output: str
    """The end of what it printed."""
    seconds: float


@contextmanager
def copied(root: Path, sources: Mapping[str, str]) -> Iterator[Path]:
    """A temporary copy of the project in which the given files have the given texts."""
    with tempfile.TemporaryDirectory(prefix="aitia-proof-") as folder:
        yield copy(root, Path(folder) / "project", sources)


def copy(root: Path, place: Path, sources: Mapping[str, str]) -> Path:
    """Copy the project to `place`, with these texts in it."""
    if root.is_dir() and _size(root) <= COPY_BYTES:
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    place.mkdir(exist_ok=True)
    for name, text in sources.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return place


def run(command: Sequence[str], *, cwd: Path, timeout: float) -> Outcome:
    """Run a command under limits; whatever it started is dead when this returns."""
    started = time.monotonic()
    limiter = LIMITER.format(memory=memory(), file=FILE_BYTES)
    code: int | None = None
    with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as any child of the command lives
        process = subprocess.Popen(
            [sys.executable, "-c", limiter, *command], cwd=cwd, env=environment(cwd), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill(process)
            process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        text = output.read().decode("utf-8", "replace")
    return Outcome(code, text, round(time.monotonic() - started, 1))


def environment(cwd: Path) -> dict[str, str]:
    """What Python needs and nothing else, for a program whose home is this folder."""
    kept = {k: os.environ[k] for k in KEPT_VARIABLES if k in os.environ}
    own = {"HOME": str(cwd), "TMPDIR": str(cwd.parent), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
    own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # the user's plugins have no part in the proof, and take a second to load
    )
    threads = os.environ.get("OMP_NUM_THREADS")
    return kept | own | ({"OMP_NUM_THREADS": threads} if threads else {})


def memory() -> int:
    """Bytes that this machine's user may give away at once; -1 where that is not known."""
    try:
        return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return -1  # not known on this system: no limit


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _size(root: Path) -> int:
    total = 0
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in NOT_COPIED]
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
        if total > COPY_BYTES:
            break
    return total
