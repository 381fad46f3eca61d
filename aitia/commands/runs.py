"""`aitia runs`: what was recorded here, and what of it may go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.commands.options import AsJson, Runs

if TYPE_CHECKING:
    from aitia.engine.store.reader import Run


def runs(
    action: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[rm|pack RUN...]",
            help="`rm` and names: remove these runs; `pack`: make them small.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    prune: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Remove the oldest runs until all take at most this, e.g. 20GB."),
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """List recorded runs, newest first; or remove some.

    Removed by size are neither the newest run nor one that is running or has an entry in the journal. With
    AITIA_MAX_SIZE=20GB in the environment `aitia run` does so by itself before it records.
    """
    from aitia.commands.screen import clean, console, say_json
    from aitia.engine.store.reader import list_runs, runs_root

    root = runs_root(runs)
    if action or prune:
        what, names = _act(root, action) if action else ("removed", prune_to(root, prune or ""))
        if as_json:
            say_json({"root": str(root), what: names})
        else:
            console().print(f"{what} {len(names)}: {', '.join(map(clean, names))}" if names else f"Nothing {what}.")
        return
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


def prune_to(root: Path, size: str) -> list[str]:
    """Remove the oldest runs that nothing needs until all take at most `size`; returns their names."""
    from aitia.engine.store.retention import parse_size, prune

    return [path.name for path in prune(root, parse_size(size), _in_a_journal)]


def _act(root: Path, words: list[str]) -> tuple[str, list[str]]:
    """(what was done, to which runs)."""
    from aitia.engine.store.errors import AitiaError
    from aitia.engine.store.pack import pack_ended
    from aitia.engine.store.reader import open_run
    from aitia.engine.store.retention import remove

    acts = {"rm": ("removed", remove), "pack": ("packed", pack_ended)}
    if words[0] not in acts or len(words) < 2:
        raise AitiaError(f"expected `aitia runs rm RUN` or `pack RUN`, found `aitia runs {' '.join(words)}`.")
    found = {run.path: run for run in (open_run(name, root) for name in words[1:])}  # all names before the first act
    what, act = acts[words[0]]
    for path in found:
        act(path)
    return what, [run.id for run in found.values()]


def _in_a_journal(run: Run) -> bool:
    """Whether an incident of the project, or of the folder we are in, tells of this run."""
    from aitia.journal.entries import entries

    projects = {Path.cwd(), *([Path(run.info.cwd)] if run.info.cwd else [])}
    return any(entry.run == run.id for project in projects if project.is_dir() for entry in entries(project))


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
