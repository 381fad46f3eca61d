"""`aitia journal`: past incidents of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import AsJson


def journal(
    search: Annotated[str | None, typer.Argument(metavar="[WORDS]", help="Only entries that hold these words.")] = None,
    project: Annotated[
        Path | None, typer.Option("--project", metavar="DIR", help="The project's folder (default: the current one).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the journal's entries, or search them."""
    from aitia.commands.screen import clean, console, here, say_json
    from aitia.journal.entries import entries

    found = entries(project or Path.cwd(), search)
    if as_json:
        say_json({"entries": found})
        return
    screen = console()
    if not found:
        about = f" about {search!r}" if search else ""
        screen.print(f"No journal entries{about} here. `aitia fix` writes one.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("date", "cause", "component", "status", "entry"):
        table.add_column(title, overflow="fold")
    for entry in found:
        cells = (entry.date, entry.cause, entry.component or "", entry.status, here(entry.path))
        table.add_row(*(Text(clean(cell)) for cell in cells))
    screen.print(table)
