"""`aitia report`: an incident as one file to send to somebody."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import AsJson, RunName, Runs


class Form(StrEnum):
    """What the report is written as."""

    HTML = "html"
    MARKDOWN = "markdown"


def report(
    run: RunName = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to write it (default: report.html or report.md in the run)."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="What to write it as.")] = Form.HTML,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained file about a run: verdict, evidence, chain, repair, proof and test."""
    from aitia.commands.screen import console, here, say_json, working
    from aitia.engine.store.errors import AitiaError
    from aitia.engine.store.reader import open_run, runs_root

    opened = open_run(run, runs_root(runs))
    from aitia.agent.dossier import gather

    with working(f"reading {opened.id}"):
        dossier = gather(opened)
    if form is Form.HTML:
        from aitia.agent.report import html as render

        path = out or opened.path / "report.html"
    else:
        from aitia.agent.report_markdown import markdown as render

        path = out or opened.path / "report.md"
    try:
        path.write_text(render(dossier), encoding="utf-8")
    except OSError as error:
        raise AitiaError(
            f"the report could not be written to {path}: {error.strerror}. Choose a place with --out."
        ) from None
    if as_json:
        say_json({"run": opened.id, "report": str(path), "verdict": dossier.diagnosis.verdict})
        return
    proved = dossier.main is not None and dossier.main.verification.status == "proved"
    console().print(f"Report: {here(path)}", soft_wrap=True)
    if dossier.main is not None and not proved:
        console().print("Nothing in it is proved yet: run `aitia fix` first.", style="dim")
