"""`aitia fix`: from the answer to a repair, a journal entry and a regression test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.commands.options import ApiBase, AsJson, Model, RunName, Runs

if TYPE_CHECKING:
    from rich.console import Console

    from aitia.agent.incident import Incident
    from aitia.engine.records import Diagnosis, Rung
    from aitia.engine.store.reader import Run


def fix(
    run: RunName = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the repair into the program (a backup of the file is kept).")
    ] = False,
    project: Annotated[
        Path | None,
        typer.Option("--project", metavar="DIR", help="Where the program lives (default: where the run was started)."),
    ] = None,
    model: Model = None,
    api_base: ApiBase = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what would be sent to the model first, and send nothing.")
    ] = False,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Propose the repair, write the journal entry and the regression test; change the program only with --apply."""
    from aitia.commands.screen import console, say_json, working
    from aitia.engine.store.errors import AitiaError
    from aitia.engine.store.reader import open_run, runs_root

    opened = open_run(run, runs_root(runs))
    root = project or project_of(opened)
    if not root.is_dir():
        raise AitiaError(f"no folder {root}; --project expects the folder in which the program lives.")
    from aitia.agent.diagnosis import answer, prompt, repair_prompt
    from aitia.agent.incident import close

    if show_prompt:
        typer.echo(f"{prompt(opened, model=model)}\n\n=== the change ===\n{repair_prompt(opened, model=model)}")
        return

    with working(f"reading {opened.id}"):
        diagnosis = answer(opened, model=model, api_base=api_base)
    with working("writing and testing the repair"):
        incident = close(opened, diagnosis, root, apply=apply, model=model, api_base=api_base)
    if as_json:
        say_json({"run": opened.id, "verdict": diagnosis.verdict, **incident.model_dump(mode="json")})
        return
    screen = console()
    if not diagnosis.hypotheses:
        screen.print(f"Nothing to fix: {diagnosis.summary}")
        return
    screen.print(f"{diagnosis.hypotheses[0].cause}: {diagnosis.summary}")
    tell_incident(screen, incident)
    if apply and not incident.applied:
        screen.print("\nThe program was not changed: only a repair whose proof did not fail is written.")
    elif incident.fix.diff and not apply:
        screen.print("\nThe program was not changed. To write the repair: aitia fix --apply")


def project_of(run: Run) -> Path:
    """The folder in which the program was started, where it still exists; else the current one."""
    there = Path(run.info.cwd) if run.info.cwd else Path.cwd()
    return there if there.is_dir() else Path.cwd()


def proven(diagnosis: Diagnosis, incident: Incident) -> Diagnosis:
    """The answer as it stands after the proof: a repair that held lifts its hypothesis to the rung of intervention."""
    if incident.verification.status != "proved":
        return diagnosis
    hypotheses = tuple(
        h.model_copy(update={"rung": rung_of(incident), "verification": incident.verification})
        if h.id == incident.hypothesis
        else h
        for h in diagnosis.hypotheses
    )
    return diagnosis.model_copy(update={"hypotheses": hypotheses})


def rung_of(incident: Incident) -> Rung:
    """How firmly a proved repair stands: where the placebo repeats the recorded run, only the change differs."""
    trials = incident.verification.details.get("trials") or []
    same = any(t.get("label") == "placebo" and t.get("same_as_recorded") for t in trials)
    return "replay" if same else "intervention"


def tell_incident(screen: Console, incident: Incident) -> None:
    """Print the fix, whether it was proved, and what was left behind."""
    from rich.table import Table
    from rich.text import Text

    from aitia.commands.answer import tell_fix
    from aitia.commands.screen import clean, here

    screen.print()
    tell_fix(screen, incident.fix)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for trial in incident.verification.details.get("trials", []):
        if trial["seed"] == 0:
            table.add_row("Before" if trial["label"] == "placebo" else "After", Text(clean(_told(trial))))
    if incident.verification.status != "not_run":
        reason = incident.verification.details.get("reason", "")
        table.add_row("Proof", Text(clean(f"{incident.verification.status}: {reason}")))
    if incident.took:
        table.add_row("Took", incident.took)
    if incident.test is not None:
        status = f"{incident.test_status}: {incident.test_reason}" if incident.test_reason else incident.test_status
        table.add_row("Test", Text(f"{here(incident.test)} ({clean(status)})"))
    if incident.journal is not None:
        table.add_row("Journal", Text(here(incident.journal)))
    for path in incident.applied:
        table.add_row("Changed", Text(f"{here(path)} (the old file is kept beside it)"))
    for tried in incident.refuted:
        table.add_row("Refuted", Text(clean(tried)))
    screen.print()
    screen.print(table)


def _told(trial: dict[str, Any]) -> str:
    """One trial of a proof in a line: the mechanism, then the outcome."""
    mechanism = trial["statement"] if trial["seen"] else "the mechanism is gone"
    parts = [mechanism, trial["failure"] or f"{trial['steps']} steps"]
    if trial["loss_first"] is not None and trial["loss_last"] is not None:
        parts.append(f"loss {trial['loss_first']:.4g} → {trial['loss_last']:.4g}")
    if trial["accuracy"] is not None:
        parts.append(f"accuracy {trial['accuracy']:.2f}")
    return "; ".join(parts)
