"""`aitia demo`: train a small doomed model, and show the whole answer."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from aitia.commands.options import ApiBase, AsJson

FOLDER = Path("aitia-demo")
"""Everything a demo makes stands here, under the current folder; delete it freely."""
TIMEOUT_S = 300
"""A demo trains for seconds; a machine that needs longer is in trouble."""


def demo(
    fault: Annotated[str | None, typer.Argument(metavar="[FAULT]", help="Which program: see --list.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the programs there are.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="Let a language model explain; `replay` replays a prepared answer instead."
        ),
    ] = None,
    api_base: ApiBase = None,
    as_json: AsJson = False,
) -> None:
    """Train a small doomed model on real data and say why it failed: cause, evidence, fix, journal entry, test."""
    from aitia.commands.screen import console, say_json, working
    from aitia.demo import DEMOS
    from aitia.engine.store.errors import AitiaError

    if list_:
        if as_json:
            say_json([{"name": d.name, "cause": d.cause, "story": d.story} for d in DEMOS])
            return
        for each in DEMOS:
            typer.echo(f"{each.name:10} {each.story}")
        return
    chosen = next((d for d in DEMOS if fault in (None, d.name, d.cause, d.cause.partition(".")[2])), None)
    if chosen is None:
        raise AitiaError(f"no demo {fault!r}; there are {', '.join(d.name for d in DEMOS)}.")
    if missing := [p for p in ("torch", "sklearn") if importlib.util.find_spec(p) is None]:
        raise AitiaError(f"the demo trains with {' and '.join(missing)}: pip install 'aitia[demo]'")
    folder = (FOLDER / chosen.name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(chosen.source, encoding="utf-8")
    runs = folder / ".aitia"
    screen = console()
    if not as_json:
        screen.print(f"Training {FOLDER / chosen.name / 'train.py'}: {chosen.story}.\n", style="bold")
    _train(folder, runs, quiet=as_json)

    from aitia.agent.diagnosis import answer
    from aitia.agent.incident import close
    from aitia.engine.store.reader import open_run

    run = open_run(None, runs)
    with working("looking for the cause"):
        diagnosis = answer(run, model=f"replay/demo-{chosen.name}" if model == "replay" else model, api_base=api_base)
    with working("writing the repair, the journal entry and the test"):
        incident = close(run, diagnosis, folder)
    from aitia.commands.fix import proven, tell_incident

    diagnosis = proven(diagnosis, incident)
    if as_json:
        say_json({"fault": chosen.cause, "diagnosis": diagnosis, "incident": incident})
        return
    from aitia.commands.answer import tell

    screen.rule(style="dim")
    tell(screen, run, diagnosis, fix=False)
    tell_incident(screen, incident)
    screen.print(f"\nLook further: cd {FOLDER / chosen.name}; aitia show latest events; aitia fix --apply", style="dim")


def _train(folder: Path, runs: Path, *, quiet: bool) -> None:
    """Record the program as a user would, in a process of its own; what it prints is shown as it comes."""
    from aitia.engine.store.errors import AitiaError

    command = [sys.executable, "-m", "aitia", "run", "--runs", str(runs), "train.py"]
    try:
        subprocess.run(
            command, cwd=folder, timeout=TIMEOUT_S, check=False, stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.DEVNULL if quiet else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise AitiaError(f"the demo did not end within {TIMEOUT_S} s on this machine.") from None
