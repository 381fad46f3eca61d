"""The command line: one function per command in `aitia/commands`; what is heavy is imported when a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aitia.commands import (
    causes,
    compare,
    demo,
    doctor,
    evaluate,
    fix,
    journal,
    optimize,
    record,
    report,
    runs,
    serve,
    show,
    why,
)

app = typer.Typer(
    name="aitia",
    help="Why did my training run fail? Record it with `aitia run train.py`, then ask with `aitia why`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from aitia import __version__

        typer.echo(f"aitia {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Why did my training run fail? Record it with `aitia run train.py`, then ask with `aitia why`."""


app.command("demo")(demo.demo)
app.command("run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})(record.run)
app.command("runs")(runs.runs)
app.command("why")(why.why)
app.command("fix")(fix.fix)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("compare")(compare.compare)
app.command("causes")(causes.causes)
app.command("journal")(journal.journal)
app.command("mcp")(serve.mcp)
app.command("serve")(serve.serve)
app.command("eval")(evaluate.evaluate)
app.command("optimize")(optimize.optimize)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point of the `aitia` script: errors that a person can mend are one line and exit code 2."""
    from aitia.engine.store.errors import AitiaError

    try:
        app()
    except AitiaError as error:
        from aitia.commands.screen import complain

        complain(str(error), as_json="--json" in sys.argv[1:])
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader (`| head`) has what it wanted
        raise SystemExit(0) from None
