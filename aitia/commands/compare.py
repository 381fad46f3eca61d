"""`aitia compare`: what is different between a run that fails and one that does not."""

from __future__ import annotations

from typing import Annotated

import typer

from aitia.commands.options import AsJson, Runs


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The run to explain.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run to hold beside it.")],
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what is, and what is not, and from which step on they part."""
    from aitia.commands.screen import console, say_json
    from aitia.commands.show import tell_result
    from aitia.engine.store.reader import open_run, runs_root

    root = runs_root(runs)
    first, second = open_run(a, root), open_run(b, root)
    from aitia.tools.compare import compare_runs

    result = compare_runs(first, second)
    if as_json:
        say_json(result.payload())
    else:
        tell_result(console(), result)
