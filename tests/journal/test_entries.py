"""The journal: written once per incident, indexed, searched, and recognized when the same comes again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runs import write_run

from aitia.engine.reason import diagnose
from aitia.engine.records import CausalHypothesis, Diagnosis, Fix
from aitia.engine.store.reader import Run
from aitia.journal.entries import FOLDER, INDEX, NOTES, Outcome, commit, entries, read, seen_before, write


@pytest.fixture
def incident(tmp_path: Path) -> tuple[Run, Diagnosis, CausalHypothesis]:
    """A run with a stale head, and what the engine says about it."""
    run = write_run(tmp_path / "runs", "stale_head")
    diagnosis = diagnose(run)
    return run, diagnosis, diagnosis.hypotheses[0]


OUTCOME = Outcome(
    fix=Fix(summary="build the optimizer last", kind="codemod", diff="--- a/train.py\n+++ b/train.py\n"),
    status="proved", resolution="Proposed. Proved: red before, green after.", test="tests/test_train.py",
    refuted=("`optimizer.lr_too_low`: raising the rate changed nothing",),
)  # fmt: skip


SECTIONS = ("## Symptom", "## Root Cause", "## Evidence", "## Fix", "## Resolution", "## What was refuted", NOTES)


def test_an_entry_tells_the_whole_story(tmp_path: Path, incident: tuple[Run, Diagnosis, CausalHypothesis]) -> None:
    """Front matter and the sections a reader looks for, with the evidence by its id."""
    path = write(tmp_path, *incident, OUTCOME)

    text = path.read_text("utf-8")
    for part in (
        *SECTIONS,
        "- [E1] fc2.weight",
        "```diff",
        "Regression test: `tests/test_train.py`",
        "raising the rate",
    ):
        assert part in text
    entry = read(path)
    assert entry is not None
    assert (entry.run, entry.cause, entry.component, entry.status) == (
        incident[0].id, "optimizer.stale_param_reference", "fc2", "proved",
    )  # fmt: skip


def test_writing_twice_is_writing_once(tmp_path: Path, incident: tuple[Run, Diagnosis, CausalHypothesis]) -> None:
    """Same file, same text; what a person noted stays; what changed is changed."""
    path = write(tmp_path, *incident, OUTCOME)
    before = path.read_text("utf-8")
    assert write(tmp_path, *incident, OUTCOME) == path
    assert path.read_text("utf-8") == before

    path.write_text(before.rpartition(NOTES)[0] + f"{NOTES}\nIt was me.\n", encoding="utf-8")
    write(tmp_path, *incident, OUTCOME.model_copy(update={"status": "applied"}))
    after = path.read_text("utf-8")
    assert after.endswith(f"{NOTES}\nIt was me.\n")
    assert 'status: "applied"' in after


def test_entries_are_listed_and_searched(tmp_path: Path, incident: tuple[Run, Diagnosis, CausalHypothesis]) -> None:
    """Every word of the query has to stand in the entry; other Markdown files are none."""
    write(tmp_path, *incident, OUTCOME)
    (tmp_path / FOLDER / "thoughts.md").write_text("# mine\n", encoding="utf-8")

    assert [e.cause for e in entries(tmp_path)] == ["optimizer.stale_param_reference"]
    assert len(entries(tmp_path, "stale FC2")) == 1
    assert entries(tmp_path, "stale nonsense") == []
    assert entries(tmp_path / "elsewhere") == []
    assert "optimizer.stale_param_reference" in (tmp_path / FOLDER / INDEX).read_text("utf-8")


def test_the_same_cause_is_recognized(tmp_path: Path, incident: tuple[Run, Diagnosis, CausalHypothesis]) -> None:
    """A second run with the cause gets its own entry, which names the first."""
    first = write(tmp_path, *incident, OUTCOME)
    run = write_run(tmp_path / "runs", "stale_head", name="20260102-000000-again")
    second = write(tmp_path, run, incident[1].model_copy(update={"run": run.id}), incident[2], OUTCOME)

    assert first != second
    assert f"- [{first.stem}]({first.name}): proved" in second.read_text("utf-8")
    assert {e.run for e in seen_before(tmp_path, "optimizer.stale_param_reference")} == {incident[0].id, run.id}
    assert seen_before(tmp_path, "loop.missing_zero_grad") == []


def test_the_commit_says_whether_files_had_changed(tmp_path: Path) -> None:
    """A hash, with a plus for a dirty tree; nothing outside a repository."""
    assert commit(tmp_path) is None

    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "a.py").write_text("a = 1\n", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "a.py"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *arguments], check=True)
    clean = commit(tmp_path)
    (tmp_path / "a.py").write_text("a = 2\n", encoding="utf-8")

    assert clean is not None
    assert commit(tmp_path) == f"{clean}+"
