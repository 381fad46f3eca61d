"""`aitia causes`: the catalogue of what can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.commands.options import AsJson

if TYPE_CHECKING:
    from aitia.engine.causes.base import Cause


def causes(
    cause: Annotated[
        str | None, typer.Argument(metavar="[CAUSE]", help="One cause, by its id or a part of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the causes that can be found, or tell all about one: look-alikes, repair, source."""
    from aitia.commands.screen import console, say_json
    from aitia.engine.causes.custom import broken, catalogue
    from aitia.engine.store.errors import AitiaError

    known = catalogue()
    for what in broken():
        typer.echo(f"aitia: {what}", err=True)
    found = [c for i, c in sorted(known.items()) if cause is None or cause in i]
    if not found:
        raise AitiaError(f"no cause {cause!r}; `aitia causes` lists all {len(known)}.")
    if as_json:
        say_json({"causes": [_data(c) for c in found]})
        return
    screen = console()
    if cause is None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        for each in found:
            table.add_row(Text(each.id), Text(each.title))
        screen.print(table)
        return
    for each in found:
        screen.print(f"{each.id}  {each.title}", style="bold")
        screen.print(f"  phase: {each.phase}\n  repair: {each.repair}")
        for other, measurement in sorted(each.mistaken_for.items()):
            screen.print(f"  not {other}: {measurement}")
        screen.print(f"  source: {each.source}\n" if each.source else "")


def _data(cause: Cause) -> dict[str, Any]:
    return {
        "id": cause.id,
        "title": cause.title,
        "phase": cause.phase,
        "repair": cause.repair,
        "mistaken_for": dict(cause.mistaken_for),
        "explains": list(cause.explains),
        "source": cause.source,
        "next_measurement": cause.next_measurement,
    }
