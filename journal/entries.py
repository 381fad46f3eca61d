"""One Markdown file per incident, with front matter: written, listed, searched, and recognized when it comes again.

Entries stand in `<project>/journal/`. Writing the same incident again changes the same file; what a person wrote under
`## Notes` stays.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aitia.engine.records import CausalHypothesis, Diagnosis, Fix, Record
from aitia.engine.store.reader import Run

FOLDER = "journal"
INDEX = "INDEX.md"
NOTES = "## Notes"
NOTES_HINT = "_Write here what else you learned; this section is kept when the entry is written again._"
GIT_TIMEOUT_S = 5
MAX_SEEN = 5
"""Earlier incidents an entry links to."""
MAX_EVIDENCE = 8
"""An entry is read months later: what decided is kept, the rest stands in the run."""


class Entry(Record):
    """The front matter of one incident."""

    path: Path
    """Where the file is."""
    date: str
    """Day of the run, `2026-11-20`."""
    run: str
    cause: str
    component: str | None = None
    confidence: float
    rung: str
    """Rung of evidence: association, intervention or replay."""
    status: str
    """What became of it: `proved`, `unproved`, `applied`, `no fix`."""
    commit: str | None = None
    """State of the user's repository, with `+` where files had changed."""
    script: str | None = None
    test: str | None = None
    """The regression test, relative to the project."""


class Outcome(Record):
    """What the entry tells beyond the diagnosis."""

    fix: Fix
    status: str
    """`proved`, `unproved`, `applied` or `no fix`."""
    resolution: str
    """What was done and what came of it, in a sentence or two."""
    test: str | None = None
    refuted: tuple[str, ...] = ()
    """What was tried or considered and does not hold."""


def write(root: Path, run: Run, diagnosis: Diagnosis, hypothesis: CausalHypothesis, outcome: Outcome) -> Path:
    """Write (or write anew) the entry of an incident and the index; returns the entry's path."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d", time.localtime(run.info.created or time.time()))
    path = _existing(folder, run.id, hypothesis.cause) or _free(folder, f"{date}-{slug(hypothesis.cause)}", run.id)
    entry = Entry(
        path=path, date=date, run=run.id, cause=hypothesis.cause, component=hypothesis.component,
        confidence=round(hypothesis.confidence, 3), rung=hypothesis.rung, status=outcome.status, commit=commit(root),
        script=run.info.script, test=outcome.test,
    )  # fmt: skip
    again = [e for e in seen_before(root, hypothesis.cause, hypothesis.component) if e.path != path]
    text = "\n".join([*_text(entry, run, diagnosis, hypothesis, outcome), *_seen(again)])
    path.write_text(f"{text}\n\n{NOTES}\n{_notes(path)}\n", encoding="utf-8")
    write_index(root)
    return path


def entries(root: Path, search: str | None = None) -> list[Entry]:
    """All entries of a project, newest first; with `search` those whose text holds every word."""
    words = (search or "").lower().split()
    found = []
    for path in sorted((root / FOLDER).glob("*.md")):
        entry = read(path)
        if entry is not None and all(w in path.read_text("utf-8", "replace").lower() for w in words):
            found.append(entry)
    return sorted(found, key=lambda e: (e.date, e.path.name), reverse=True)


def seen_before(root: Path, cause: str, component: str | None = None) -> list[Entry]:
    """Past incidents of this cause, those in the same component first."""
    same = [e for e in entries(root) if e.cause == cause]
    return sorted(same, key=lambda e: e.component != component)


def read(path: Path) -> Entry | None:
    """The front matter of one file; None where it has none, or one that is not ours."""
    known = Entry.model_fields.keys() - {"path"}
    try:
        return Entry(path=path, **{key: value for key, value in _front_matter(path) if key in known})
    except (TypeError, ValueError):
        return None


def write_index(root: Path) -> Path:
    """Write the table of all entries."""
    rows = ["# Journal", "", "| date | cause | component | status | entry |", "|---|---|---|---|---|"]
    rows += [
        f"| {e.date} | `{e.cause}` | {_cell(e.component or '')} | {e.status} | [{e.path.stem}]({e.path.name}) |"
        for e in entries(root)
    ]
    path = root / FOLDER / INDEX
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def commit(root: Path) -> str | None:
    """Short hash of the project's commit, with `+` where tracked files differ; None outside a repository."""
    head = _git(root, "rev-parse", "--short", "HEAD")
    if not head:
        return None
    return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(
    entry: Entry, run: Run, diagnosis: Diagnosis, hypothesis: CausalHypothesis, outcome: Outcome
) -> Iterator[str]:
    yield "---"
    for key, value in entry.model_dump(mode="json", exclude={"path"}).items():
        yield f"{key}: {json.dumps(value, ensure_ascii=False)}"
    yield "---"
    yield f"# {hypothesis.cause}"
    yield f"\n## Symptom\n{diagnosis.summary}"
    if run.info.failure is not None:
        yield f"\nThe run ended with `{_cell(run.info.failure.type)}: {_cell(run.info.failure.message)[:200]}`."
    else:
        yield f"\nThe run {run.info.status.value} after {run.n_steps} optimizer steps."
    yield f"\n## Root Cause\n{hypothesis.explanation or hypothesis.cause}"
    where = [f"component `{hypothesis.component}`"] if hypothesis.component else []
    if hypothesis.location is not None:
        where.append(f"`{hypothesis.location.file}` line {', '.join(map(str, hypothesis.location.lines))}")
    where += [f"from step {hypothesis.onset_step}"] if hypothesis.onset_step is not None else []
    yield f"\nConfidence {hypothesis.confidence:.2f}, by {hypothesis.rung}" + (f"; {'; '.join(where)}" if where else "")
    yield "\n## Evidence"
    statements = {e.id: e.statement for e in diagnosis.evidence}
    for i in hypothesis.evidence[:MAX_EVIDENCE]:
        yield f"- [{i}] {statements.get(i, '')}"
    for i in hypothesis.against[:MAX_EVIDENCE]:
        yield f"- against: [{i}] {statements.get(i, '')}"
    yield f"\n## Fix\n{outcome.fix.summary}"
    if outcome.fix.diff:
        yield f"\n```diff\n{outcome.fix.diff.rstrip()}\n```"
    yield f"\n## Resolution\n{outcome.resolution}"
    if outcome.test:
        yield f"\nRegression test: `{outcome.test}`"
    others = [f"`{h.cause}` ({h.confidence:.2f})" for h in diagnosis.hypotheses if h.id != hypothesis.id]
    yield "\n## What was refuted"
    yield "\n".join(f"- {line}" for line in (*outcome.refuted, *hypothesis.mistaken_for)) or "- nothing was tried"
    if others:
        yield f"- also considered, and not ruled out: {', '.join(others)}"


def _seen(again: list[Entry]) -> list[str]:
    lines = [f"- [{e.path.stem}]({e.path.name}): {e.status}" for e in again[:MAX_SEEN]]
    return ["\n## Seen before", *lines] if lines else []


def _front_matter(path: Path) -> Iterator[tuple[str, Any]]:
    lines = path.read_text("utf-8", "replace").splitlines()
    if not lines or lines[0] != "---":
        return
    for line in lines[1:]:
        if line == "---":
            return
        key, colon, value = line.partition(": ")
        if colon:
            try:
                yield key, json.loads(value)
            except json.JSONDecodeError:
                yield key, value


def _existing(folder: Path, run: str, cause: str) -> Path | None:
    found = (read(p) for p in sorted(folder.glob("*.md")))
    return next((e.path for e in found if e is not None and e.run == run and e.cause == cause), None)


def _free(folder: Path, stem: str, run: str) -> Path:
    path = folder / f"{stem}.md"
    return path if not path.exists() else folder / f"{stem}-{slug(run)}.md"


def _notes(path: Path) -> str:
    if path.is_file():
        _, found, notes = path.read_text("utf-8", "replace").partition(f"\n{NOTES}\n")
        if found:
            return notes.rstrip("\n")
    return NOTES_HINT


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
