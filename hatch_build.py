"""Compiles the statistics kernel while the package is built; without a compiler the package is built without it.

`pip install .`, `pip install -e .` and `python -m build` come here through hatchling. `python hatch_build.py` compiles
into the checkout.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOM = Path("aitia", "engine", "kernel")
LIBRARY = "_statistics.abi3.so"
REPORT = "build.json"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-fno-strict-aliasing",
         "-fno-math-errno", "-ffp-contract=fast")  # fmt: skip
TAG = "cp311-abi3"
"""The oldest Python whose stable interface has the buffer protocol."""
PATIENCE = 300
"""Seconds that a compiler may take; it needs about ten."""


def compiled(source: Path, into: Path) -> dict[str, str]:  # noqa: PLR0911 - one reason each
    """Compile the kernel into a folder; what was used, or why it was not: {compiler} or {failed}."""
    if os.name != "posix" or platform.python_implementation() != "CPython":
        return {"failed": f"not built on {platform.python_implementation()} for {sys.platform}"}
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return {"failed": "not built: a free-threaded Python has no stable interface"}
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        return {"failed": "not built: the headers of Python are not installed (python3-dev)"}
    names = ((os.environ["CXX"],) if os.environ.get("CXX") else ()) + COMPILERS
    found = [c for name in names if (c := shutil.which(name))]
    if not found:
        return {"failed": "not built: no C++ compiler on PATH (c++, g++ or clang++)"}
    extra = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    made = into / f".{LIBRARY}.{os.getpid()}"  # moved when complete: a training that runs may have the old one open
    command = (found[0], *FLAGS, *extra, f"-I{include}", str(source / "module.cpp"), "-o", str(made))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        version = subprocess.run((found[0], "--version"), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"failed": f"not built: {error}"}
    if done.returncode != 0:
        return {"failed": f"not built: {Path(found[0]).name} said: {done.stderr.strip()[:500]}"}
    made.replace(into / LIBRARY)
    return {"compiler": version.stdout.splitlines()[0] if version.stdout else Path(found[0]).name}


def wheel_tag() -> str:
    """The tag of a wheel that holds the compiled kernel."""
    name = sysconfig.get_platform()
    if sys.platform == "darwin":  # which release the compiler aimed at, only `packaging` knows
        from packaging.tags import platform_tags

        name = next(iter(platform_tags()), name)
    return f"{TAG}-{name.replace('-', '_').replace('.', '_')}"


class KernelHook(BuildHookInterface[Any]):
    """Puts the kernel into a wheel, or into the checkout for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is put together."""
        if self.target_name != "wheel":
            return
        room = Path(self.root) / ROOM
        self._folder = tempfile.TemporaryDirectory(prefix="kernel-")
        into = room if version == "editable" else Path(self._folder.name)
        report = compiled(room / "source", into)
        (into / REPORT).write_text(json.dumps(report), "utf-8")
        if "failed" in report:
            self.app.display_warning(f"statistics kernel {report['failed']}; numpy will do its work")
        else:
            build_data["pure_python"] = False
            build_data["tag"] = wheel_tag()
        if version != "editable":
            names = [REPORT] if "failed" in report else [REPORT, LIBRARY]
            build_data["force_include"].update({str(into / n): (ROOM / n).as_posix() for n in names})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After it."""
        if self.target_name == "wheel":
            self._folder.cleanup()


if __name__ == "__main__":
    here = Path(__file__).resolve().parent / ROOM
    told = compiled(here / "source", here)
    (here / REPORT).write_text(json.dumps(told), "utf-8")
    print(*told.values())  # noqa: T201 - this is what was asked for
