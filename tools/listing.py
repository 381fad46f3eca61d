"""The list of recorded runs: what each was, how it ended, and what is already known about it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import ClassVar, Final

from aitia.engine.records import Record, RunStatus
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run, list_runs
from aitia.tools.answer import stored_diagnosis
from aitia.tools.result import Action, ToolResult, number_of
from aitia.tools.series import ends, median, training_loss
from aitia.tools.trust import RUN_NAME, safe_file, safe_word

PAGE: Final = 20


class RunRow(Record):
    """One recorded run."""

    run: str
    status: str
    script: str | None = None
    created: str | None = None
    """UTC."""
    steps: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    failure: str | None = None
    """Class of the exception that ended it."""
    verdict: str | None = None
    cause: str | None = None
    """Known only where the run was diagnosed before."""


class RunList(ToolResult):
    """Runs, newest first."""

    shrinkable: ClassVar[tuple[str, ...]] = ("runs",)
    runs: tuple[RunRow, ...] = ()
    total: int = 0
    next_cursor: str | None = None
    """Pass as `cursor` for the next page."""


def run_names(root: Path) -> list[str]:
    """Names of the runs that can be asked about, newest first."""
    return [p.name for p in list_runs(root) if RUN_NAME.fullmatch(p.name)]


def runs_page(root: Path, *, limit: int = PAGE, cursor: str | None = None, status: RunStatus | None = None) -> RunList:
    """One page of runs under `root`, newest first; `cursor` is the last name of the page before."""
    names = [n for n in run_names(root) if cursor is None or n < cursor]
    rows: list[RunRow] = []
    following = None
    for position, name in enumerate(names):
        row = _row(root / name)
        if status is None or row.status == status.value:
            rows.append(row)
        if len(rows) == limit:
            following = name if position + 1 < len(names) else None
            break
    total = len(run_names(root))
    return RunList(
        summary=_summary(rows, total),
        suggested_actions=_actions(rows),
        runs=tuple(rows),
        total=total,
        next_cursor=following,
    )


def _row(path: Path) -> RunRow:
    try:
        run = Run(path)
        info = run.info
        loss = training_loss(run)[1]
    except AitiaError:
        return RunRow(run=path.name, status="unreadable")
    first, last = ends(loss, 3) if len(loss) else (loss, loss)
    known = stored_diagnosis(path)
    cause = known.hypotheses[0].cause if known is not None and known.hypotheses else None
    return RunRow(
        run=path.name,
        status=info.status.value,
        script=safe_file(info.script),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(info.created)) if info.created else None,
        steps=run.n_steps,
        first_loss=number_of(median(first)),
        last_loss=number_of(median(last)),
        failure=safe_word(info.failure.type) if info.failure else None,
        verdict=known.verdict if known else None,
        cause=cause if cause and re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", cause) else None,
    )


def _summary(rows: list[RunRow], total: int) -> str:
    if not total:
        return "No run is recorded here yet. Record one with `aitia run train.py`."
    if not rows:
        return f"None of the {total} recorded runs fits."
    first = rows[0]
    how = f" with {first.failure}" if first.failure else ""
    newest = f"The newest, {first.run}, is {first.status}{how} at step {first.steps}."
    return f"{total} runs are recorded; {len(rows)} are shown. {newest}"


def _actions(rows: list[RunRow]) -> tuple[Action, ...]:
    if not rows:
        return ()
    reason = "answers why this run failed, or that nothing is wrong with it"
    return (Action(tool="diagnose", arguments={"run": rows[0].run}, reason=reason),)
