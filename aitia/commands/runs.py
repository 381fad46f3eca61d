"""`aitia runs`: what was recorded here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from aitia.commands.options import AsJson, Runs


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """List recorded runs, newest first."""
    from aitia.commands.screen import clean, console, say_json
    from aitia.engine.store.reader import list_runs, runs_root

    root = runs_root(runs)
    found = list_runs(root)
    rows = [_row(path) for path in found[:limit]]
    if as_json:
        say_json({"root": str(root), "total": len(found), "runs": rows})
        return
    screen = console()
    if not rows:
        screen.print(f"No runs under {root}. Record one: aitia run train.py")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, side in (("run", "left"), ("status", "left"), ("steps", "right"), ("when", "left"), ("command", "left")):
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"])) if row["created"] else ""
        note = row["error"] or row["command"]
        table.add_row(clean(row["run"]), row["status"], str(row["steps"]), when, clean(note, 80))
    screen.print(table)
    if len(found) > len(rows):
        screen.print(f"… and {len(found) - len(rows)} older ones (--limit {len(found)}).")


def _row(path: Path) -> dict[str, Any]:
    """One run in one line; a damaged one says so instead of hiding the others."""
    from aitia.engine.store.errors import AitiaError
    from aitia.engine.store.reader import Run

    row: dict[str, Any] = {"run": path.name, "status": "unreadable", "steps": "", "created": 0.0}
    row |= {"command": "", "error": ""}
    try:
        run = Run(path)
        info = run.info
        row |= {
            "status": info.status.value,
            "steps": run.n_steps,
            "created": info.created,
            "command": " ".join(info.command),
        }
    except (AitiaError, ValueError) as error:
        row["error"] = str(error).splitlines()[0]
    return row
