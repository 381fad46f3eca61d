"""Runs in object storage: a URL for the place where runs live (`s3://bucket/runs`, `gs://…`, anything fsspec knows).

A URL has a mirror, a folder of this machine with the same runs. The recorder writes there as always, and a thread of
its own sends what is complete; a training never waits for the network and never fails by it. A reader fetches what it
asks for into the same mirror: of a list of runs only the databases and the steps, of an opened run everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from aitia.engine.store.errors import AitiaError
from aitia.engine.store.schema import RANKS

MARK: Final = ".remote"
"""File of a mirror that holds its URL."""
FETCHED: Final = ".fetched.json"
"""File of a mirrored run that came from elsewhere: which version of which file is here."""
LIST_SECONDS: Final = 5.0
"""A list of runs that is younger is not asked for again."""
LISTED: Final = ("run.db", "series/step-")
"""What a list of runs is made of."""
VERSIONS: Final = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
"""Under these names file systems tell that a file changed."""


def url_of(given: str | os.PathLike[str]) -> str | None:
    """The URL that was meant, None for a plain path. A `Path` has swallowed one of the slashes."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]+):(/+)(.+)", os.fspath(given))
    if not found:
        return None
    scheme, _, rest = found.groups()
    return f"{scheme}:///{rest}" if scheme in {"file", "local"} else f"{scheme}://{rest}"


def mirror_of(url: str) -> Path:
    """The folder of this machine that stands for the URL; made if it is not there. Asks nobody."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = re.sub(r"[^A-Za-z0-9]+", "-", url).strip("-")[-60:]
    folder = cache / "aitia" / "runs" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MARK).is_file():
        (folder / MARK).write_text(url, encoding="utf-8")
    return folder


def remote_of(root: Path) -> Remote | None:
    """What a root mirrors, or None for a plain folder."""
    with contextlib.suppress(OSError):
        return Remote((root / MARK).read_text("utf-8").strip(), root)
    return None


class Remote:
    """A folder of runs at a URL, and its mirror."""

    def __init__(self, url: str, mirror: Path) -> None:
        self.url = url
        self.mirror = mirror

    def refresh(self) -> None:
        """Bring the mirror's list of runs up to date; with the network gone it stays as it is, if there is one."""
        asked = self.mirror / f"{MARK}-asked"
        with contextlib.suppress(OSError):
            if time.time() - asked.stat().st_mtime < LIST_SECONDS:
                return
        try:
            runs = self._runs()
            for run, files in runs.items():
                self._pull(run, files, LISTED)
        except AitiaError:
            raise
        except Exception as error:  # noqa: BLE001 - every file system has errors of its own
            if any(self.mirror.glob("*/run.db")):
                return
            raise AitiaError(f"{self.url} cannot be read: {type(error).__name__}: {error}") from None
        for known in self.mirror.glob(f"*/{FETCHED}"):
            if known.parent.name not in runs:
                shutil.rmtree(known.parent, ignore_errors=True)
        asked.touch()

    def fetch(self, run: str) -> None:
        """Bring a whole run into the mirror, or what changed of it; one that was recorded here is here already."""
        if (self.mirror / run).is_dir() and not (self.mirror / run / FETCHED).is_file():
            return
        try:
            self._pull(run, self._files(run), ("",))
        except Exception as error:  # noqa: BLE001 - every file system has errors of its own
            raise AitiaError(f"{self.url}/{run} cannot be read: {type(error).__name__}: {error}") from None

    def put(self, local: Path, name: str) -> None:
        """Send one file; whoever reads meanwhile sees the old one or the new one."""
        fs, base = self._open()
        target = f"{base}/{name}"
        fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        if "file" not in _protocols(fs):
            fs.put_file(os.fspath(local), target)  # object stores show a file when it is whole
            return
        fs.put_file(os.fspath(local), f"{target}.part")
        fs.mv(f"{target}.part", target)

    def drop(self, name: str) -> None:
        """Remove a file or a whole run there; it is no fault if there is none."""
        fs, base = self._open()
        target = f"{base}/{name}"
        found = fs.find(target)
        if found:
            fs.rm(found)
        with contextlib.suppress(FileNotFoundError):
            fs.rm(target, recursive=True)  # where folders are more than a part of names

    # ---- private -----------------------------------------------------------------------------------------------

    def _open(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise AitiaError(f"{self.url} needs fsspec: pip install 'aitia[remote]'") from None
        try:
            fs, base = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise AitiaError(f"{self.url} cannot be opened: {error}") from None
        fs.invalidate_cache()  # others write there
        return fs, base.rstrip("/")

    def _runs(self) -> dict[str, dict[str, str]]:
        runs: dict[str, dict[str, str]] = {}
        for name, version in self._find(""):
            run, _, file = name.partition("/")
            if file and run != RANKS:
                runs.setdefault(run, {})[file] = version
        return {run: files for run, files in runs.items() if "run.db" in files}

    def _files(self, run: str) -> dict[str, str]:
        return dict(self._find(run))

    def _find(self, below: str) -> Iterator[tuple[str, str]]:
        """(name, version) of every file; names that lead out of the folder are left out."""
        fs, base = self._open()
        top = f"{base}/{below}" if below else base
        try:
            found = fs.find(top, detail=True)
        except FileNotFoundError:
            return
        for path, info in found.items():
            name = path[path.index(top) + len(top) :].lstrip("/") if top in path else ""
            parts = PurePosixPath(name).parts
            if parts and not any(p in {"..", "/"} or p.startswith(".") for p in parts) and not name.endswith(".part"):
                told = next((str(info[key]) for key in VERSIONS if info.get(key) is not None), "")
                yield name, f"{info.get('size')}:{told}"

    def _pull(self, run: str, files: dict[str, str], wanted: tuple[str, ...]) -> None:
        folder = self.mirror / run
        if folder.is_dir() and not (folder / FETCHED).is_file():
            return  # recorded here
        folder.mkdir(exist_ok=True)
        here = _state(folder)
        fs, base = self._open()
        for name, version in files.items():
            if here.get(name) != version and name.startswith(wanted):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{target.name}.part")
                fs.get_file(f"{base}/{run}/{name}", os.fspath(part))
                if name == "run.db":
                    for log in ("run.db-wal", "run.db-shm"):
                        (folder / log).unlink(missing_ok=True)
                part.replace(target)
                here[name] = version
        for name in [n for n in here if n not in files]:
            (folder / name).unlink(missing_ok=True)
            del here[name]
        (folder / FETCHED).write_text(json.dumps(here), encoding="utf-8")


def _state(folder: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        state: dict[str, str] = json.loads((folder / FETCHED).read_text("utf-8"))
        return state
    (folder / FETCHED).write_text("{}", encoding="utf-8")  # from here on it counts as fetched, also when cut short
    return {}


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
