"""Notebook magics: `%%watch [model]` records a cell, `%why [RUN]` asks."""

from __future__ import annotations

import shlex
from typing import Any

USAGE = "%why [RUN] [--runs DIR] · %%watch [MODEL]"


def load(shell: Any) -> None:
    """Register both magics with an IPython shell."""

    def line_why(line: str) -> None:
        """Say why a run failed (default: the latest)."""
        from aitia.cli import app
        from aitia.engine.store.errors import AitiaError

        try:
            app(["why", *shlex.split(line)], standalone_mode=False)
        except AitiaError as error:
            print(f"aitia: {error}")  # noqa: T201 - a notebook's cell is the screen here

    def cell_watch(line: str, cell: str) -> None:
        """Record the cell; a model's variable name on the first line names it."""
        from aitia.engine.capture.watch import watch

        name = line.strip()
        model = shell.user_ns.get(name) if name else None
        if name and model is None:
            print(f"aitia: no variable {name!r}. Usage: {USAGE}")  # noqa: T201 - see above
            return
        error: BaseException | None = None
        try:
            with watch(model):
                result = shell.run_cell(cell)
                error = result.error_in_exec or result.error_before_exec
                if error is not None:
                    raise error  # so that the recording ends as the cell did
        except BaseException as raised:
            if raised is not error:
                raise
            # IPython has shown the traceback already.
        print("aitia: recorded. Ask: %why")  # noqa: T201 - see above

    shell.register_magic_function(line_why, "line", "why")
    shell.register_magic_function(cell_watch, "cell", "watch")
