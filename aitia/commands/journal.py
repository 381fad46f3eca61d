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
    from aitia.commands.screen import clean, console, say_json
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
    for entry in found:
        screen.print(f"{entry.date}  {entry.cause}  {clean(entry.run)}  {clean(str(entry.path))}")
