"""`aitia doctor`: whether everything is in place, and what to do where it is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from aitia.commands.options import AsJson, Runs

CLIENTS = ("claude", "codex", "cursor", "code", "gemini")
"""Programs that can start an MCP server."""
MIN_TORCH = (2, 4)
"""The oldest release whose hooks the recorder is written for."""
MIN_FREE = 200 * 2**20
"""Bytes; a recording of an hour of training rarely needs more."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def doctor(runs: Runs = None, as_json: AsJson = False) -> None:
    """Check the environment: Python, torch, the recorder, the runs' folder, MCP clients."""
    from aitia.commands.screen import console, say_json
    from aitia.engine.store.reader import runs_root

    checks = [_python(), _torch(), _recorder(), *_optional(), _folder(runs_root(runs)), _clients()]
    healthy = all(c.ok for c in checks)
    if as_json:
        say_json({"ok": healthy, "checks": [asdict(c) for c in checks]})
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[red]no[/]"
            table.add_row(Text.from_markup(mark), check.name, Text(check.found), Text(check.advice, style="yellow"))
        console().print(table)
    if not healthy:
        raise typer.Exit(1)


def _python() -> Check:
    return Check("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> Check:
    version = _version("torch")
    if version is None:
        return Check("torch", False, "not installed here", "install aitia into the environment that trains")
    parts = tuple(int(p) for p in version.split("+")[0].split(".")[:2] if p.isdigit())
    advice = "" if parts >= MIN_TORCH else "the recorder needs torch 2.4 or later"
    return Check("torch", not advice, version, advice)


def _recorder() -> Check:
    if os.environ.get("AITIA") == "0":
        return Check("recorder", False, "switched off", "AITIA=0 is set in the environment; unset it")
    from aitia.engine import kernel

    path, reason = kernel.why()
    return Check("recorder", True, f"{path} statistics, {reason}")


def _optional() -> list[Check]:
    parts = (
        ("scikit-learn", "`aitia demo`", "demo"),
        ("dspy", "answers by a language model", "llm"),
        ("fsspec", "runs in object storage", "remote"),
    )
    return [
        Check(package, True, version or f"not installed; only needed for {what}: pip install 'aitia[{extra}]'")
        for package, what, extra in parts
        for version in [_version(package)]
    ]


def _folder(root: Path) -> Check:
    from aitia.engine.store.reader import list_runs

    there = root.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Check("runs", False, f"{root}: not writable", "choose another folder with --runs or AITIA_RUNS")
    words = f"{root}: {len(list_runs(root))} runs, {free / 2**30:.1f} GiB free"
    return Check("runs", free > MIN_FREE, words, "" if free > MIN_FREE else "make room on this disk")


def _clients() -> Check:
    found = [c for c in CLIENTS if shutil.which(c)]
    return Check("MCP clients", True, ", ".join(found) or "none on PATH; the README says how to add aitia to one")
