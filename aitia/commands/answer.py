"""A diagnosis as a tired person can read it: the cause first, then where, then the measurements, then what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from aitia.commands.screen import clean

if TYPE_CHECKING:
    from rich.console import Console

    from aitia.engine.records import CausalHypothesis, Diagnosis, Fix
    from aitia.engine.store.reader import Run

CONTEXT_LINES = 2
"""Lines of the user's code shown around an accused line."""
SAME_BEGINNING = 40
"""Two sentences that begin with the same so many characters say the same."""
MAX_ACCUSED = 4
"""More accused lines than this are named, not shown."""
COLOURS = {"healthy": "bold green", "faulty": "bold red", "unknown": "bold yellow"}
RUNGS = {
    "association": "seen together; not yet proved by a rerun",
    "intervention": "proved: changed, and gone",
    "replay": "proved: would not have happened",
}


def tell(screen: Console, run: Run, diagnosis: Diagnosis, *, fix: bool = True) -> None:
    """Print the whole answer; without the fix where the caller tells more about it."""
    info = run.info
    command = clean(" ".join(info.command) or info.script or "", 80)
    ended = "still running" if info.status == "running" else info.status.value
    screen.print(Text(f"{clean(diagnosis.run)} · {command} · {ended} · {run.n_steps} steps", style="dim"))
    screen.print()
    line = Text(diagnosis.verdict.upper(), style=COLOURS[diagnosis.verdict])
    line.append("  " + clean(diagnosis.summary), style="default not bold")
    screen.print(line)
    if diagnosis.hypotheses:
        first, *others = diagnosis.hypotheses
        screen.print()
        _main(screen, run, diagnosis, first, fix)
        if others:
            _others(screen, others)
    elif diagnosis.evidence:
        screen.print()
        _evidence(screen, "Evidence", diagnosis, tuple(e.id for e in diagnosis.evidence))
    if diagnosis.next_measurements:
        screen.print()
        screen.print(Text("What to measure next", style="bold"))
        for each in diagnosis.next_measurements:
            screen.print(Padding(Text("· " + clean(each)), (0, 0, 0, 2)))
    screen.print()
    screen.print(Text(f"answered by {_who(diagnosis)}", "dim"))
    for note in diagnosis.notes:
        screen.print(Padding(Text("· " + clean(note, 300), "dim"), (0, 0, 0, 2)))


def _who(diagnosis: Diagnosis) -> str:
    if diagnosis.mode == "llm":
        name = clean(diagnosis.model or "a language model")
        return f"{name}, a conversation that is replayed; no model was asked" if name.startswith("replay/") else name
    if diagnosis.mode == "rules_fallback":
        return f"rules; {clean(diagnosis.model or 'the language model')} was asked, but its answer was not used"
    return "rules, no language model"


def _main(screen: Console, run: Run, diagnosis: Diagnosis, h: CausalHypothesis, fix: bool) -> None:
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("Cause", Text(f"{h.cause}  ({h.confidence:.0%} sure; {RUNGS[h.rung]})"))
    place = [clean(h.component)] if h.component else []
    if h.location:
        place.append(f"{clean(h.location.file)}:{','.join(str(n) for n in h.location.lines)}")
    place.append(f"phase: {h.phase}")
    if h.onset_step is not None:
        place.append(f"from step {h.onset_step} on")
    facts.add_row("Where", Text(" · ".join(place)))
    if h.verification.status != "not_run":
        told = f"{h.verification.status}: {h.verification.details.get('reason', '')}"
        facts.add_row("Proof", Text(clean(told)))
    if more := _beyond(diagnosis.summary, h.explanation):
        facts.add_row("Why", Text(clean(more)))
    screen.print(facts)
    _source(screen, run, h)
    screen.print()
    _evidence(screen, "Evidence", diagnosis, h.evidence)
    if h.against:
        _evidence(screen, "Against it", diagnosis, h.against)
    if h.mistaken_for:
        screen.print(Text("Not to be confused with", style="bold"))
        for each in h.mistaken_for:
            screen.print(Padding(Text("· " + clean(each)), (0, 0, 0, 2)))
    if fix and h.fix is not None:
        screen.print()
        tell_fix(screen, h.fix)


def _beyond(summary: str, explanation: str) -> str:
    """The sentences of the explanation that the summary printed above it does not hold already."""
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", explanation)
    return " ".join(s for s in sentences if s[:SAME_BEGINNING].rstrip(".") not in summary)


def _source(screen: Console, run: Run, h: CausalHypothesis) -> None:
    """The accused lines with their neighbours, from the snapshot that was taken when the run began."""
    if h.location is None or h.location.file not in run.sources:
        return
    lines = run.sources[h.location.file].splitlines()
    wanted = [n for n in h.location.lines if 1 <= n <= len(lines)][:MAX_ACCUSED]
    shown = sorted({k for n in wanted for k in range(n - CONTEXT_LINES, n + CONTEXT_LINES + 1) if 1 <= k <= len(lines)})
    if not shown:
        return
    screen.print()
    before = shown[0] - 1
    for number in shown:
        if number != before + 1:
            screen.print(Text("         ⋮", style="dim"))
        hit = number in wanted
        text = Text(f"  {'→' if hit else ' '} {number:4d} │ ", style="red" if hit else "dim")
        text.append(clean(lines[number - 1].expandtabs(4), 160), style="bold" if hit else "")
        screen.print(text, no_wrap=True, overflow="ellipsis")
        before = number


def _evidence(screen: Console, title: str, diagnosis: Diagnosis, ids: tuple[str, ...]) -> None:
    known = {e.id: e for e in diagnosis.evidence}
    rows = [known[i] for i in ids if i in known]
    if not rows:
        return
    screen.print(Text(title, style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(row.id, Text(clean(row.statement, 400)))
    screen.print(Padding(table, (0, 0, 0, 2)))


def _others(screen: Console, others: list[CausalHypothesis]) -> None:
    screen.print()
    screen.print(Text("Also possible", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for h in others:
        table.add_row(f"{h.confidence:.0%}", h.cause, Text(clean(h.explanation, 160), style="dim"))
    screen.print(Padding(table, (0, 0, 0, 2)))


def tell_fix(screen: Console, fix: Fix) -> None:
    """A fix: its sentence, and its diff where there is one."""
    screen.print(Text.assemble(("Fix  ", "bold"), clean(fix.summary)))
    if fix.diff:
        screen.print(Padding(Syntax(clean(fix.diff, 8000), "diff", background_color="default"), (1, 0, 0, 2)))
