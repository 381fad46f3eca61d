"""Old runs go when there is too much of them; what is needed stays."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from runs import write_run
from typer.testing import CliRunner

from aitia.cli import app, main
from aitia.engine.records import RunInfo
from aitia.engine.store import pack as packing
from aitia.engine.store.errors import AitiaError
from aitia.engine.store.reader import Run, list_runs
from aitia.engine.store.retention import parse_size, prune, size_of
from aitia.engine.store.writer import RunWriter


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs of about one size, oldest first a, b, c, d."""
    monkeypatch.chdir(tmp_path)
    for day, name in enumerate("abcd", start=1):
        write_run(tmp_path / ".aitia", "healthy", name=f"2026010{day}-000000-{name}", steps=10)
    return tmp_path / ".aitia"


def left(root: Path) -> str:
    return "".join(path.name[-1] for path in reversed(list_runs(root)))


def room_for(root: Path, n: float) -> int:
    return int(n * max(size_of(path) for path in list_runs(root)))


def test_the_oldest_go_first_until_the_rest_fits(root: Path) -> None:
    """What goes is told; nothing goes when all fits."""
    assert prune(root, room_for(root, 4), lambda run: False) == []
    gone = prune(root, room_for(root, 2), lambda run: False)

    assert [path.name[-1] for path in gone] == ["a", "b"]
    assert left(root) == "cd"


def test_the_newest_run_stays_whatever_its_size(root: Path) -> None:
    """`aitia why` right after a run must find it."""
    prune(root, 0, lambda run: False)

    assert left(root) == "d"


def test_what_is_needed_running_or_unreadable_stays(root: Path) -> None:
    """Also when that means that the limit cannot be kept."""
    running = root / "20260101-000001-r"
    running.mkdir()
    RunWriter(running, RunInfo(id=running.name, pid=os.getpid())).close()
    (root / "20260101-000002-x").mkdir()
    (root / "20260101-000002-x" / "run.db").write_bytes(b"damaged" * 1000)
    prune(root, 0, lambda run: run.id.endswith("b"))

    assert left(root) == "rxbd"


def test_runs_of_other_ranks_go_too(root: Path) -> None:
    """They lie beside the run of rank 0."""
    write_run(root / "ranks", "healthy", name="20250101-000000-a-rank1", steps=10)
    gone = prune(root, room_for(root, 4), lambda run: False)

    assert [path.name for path in gone] == ["20250101-000000-a-rank1"]


def test_an_interrupted_removal_is_finished_the_next_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a run is never shown as one."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(OSError(16, "busy")))
        with pytest.raises(AitiaError, match="busy"):
            prune(root, 0, lambda run: False)
    assert left(root) == "bcd"
    prune(root, room_for(root, 4), lambda run: False)

    assert not [path for path in root.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("text", "size"), [("500MB", 500e6), ("2.5 GB", 2.5e9), ("1t", 1e12), ("7", 7)])
def test_sizes_are_read_as_people_write_them(text: str, size: float) -> None:
    """Decimal units, as disks are sold."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "many", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error shows how it is written."""
    with pytest.raises(AitiaError, match="20GB"):
        parse_size(text)


def call(*words: str) -> dict[str, list[str]]:
    done = CliRunner().invoke(app, ["runs", *words, "--json"], catch_exceptions=False)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_named_runs_are_removed(root: Path) -> None:
    """By any unique part of a name; an unknown one spoils nothing."""
    with pytest.raises(AitiaError, match="not known"):
        call("rm", "000-a", "nope")
    assert left(root) == "abcd"

    assert call("rm", "000-a", "000-c")["removed"] == ["20260101-000000-a", "20260103-000000-c"]
    assert left(root) == "bd"


def test_a_running_run_is_not_removed(root: Path) -> None:
    """The error says what to do."""
    running = root / "20260105-000000-r"
    running.mkdir()
    RunWriter(running, RunInfo(id=running.name, pid=os.getpid())).close()

    with pytest.raises(AitiaError, match="stop it first"):
        call("rm", "000-r")
    with pytest.raises(AitiaError, match="still running"):
        call("pack", "000-r")
    assert Run(running).id == running.name


def test_a_killed_run_can_be_packed_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing at the end did not happen, or had too little time."""
    monkeypatch.setattr(packing, "PAYS_BYTES", 1)

    assert call("pack", "000-a")["packed"] == ["20260101-000000-a"]
    assert list((root / "20260101-000000-a" / "series").glob("step-*.parquet"))
    assert Run(root / "20260101-000000-a").n_steps == 10


def test_a_run_of_the_journal_outlives_pruning(root: Path) -> None:
    """Its entry refers to it."""
    folder = root.parent / "journal"
    folder.mkdir()
    front = "\n".join(f"{k}: {json.dumps(v)}" for k, v in {
        "date": "2026-01-01", "run": "20260101-000000-a", "cause": "optimizer.lr_too_high", "confidence": 0.9,
        "rung": "association", "status": "unproved",
    }.items())  # fmt: skip
    (folder / "2026-01-01-x.md").write_text(f"---\n{front}\n---\n")

    assert call("--prune", "1")["removed"] == ["20260102-000000-b", "20260103-000000-c"]


def test_a_recording_makes_room_for_itself_when_told_so(root: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """AITIA_MAX_SIZE; a size that is none is told and holds nothing up."""
    (root.parent / "train.py").write_text("print('trained')\n")
    for size in ("1", "lots"):
        monkeypatch.setenv("AITIA_MAX_SIZE", size)
        monkeypatch.setattr(sys, "argv", ["aitia", "run", "train.py"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    out, err = capfd.readouterr()

    assert out == "trained\ntrained\n"
    assert err.count("old runs were not removed: 'lots' is no size") == 1
    assert left(root)[0] == "d"
    assert len(list_runs(root)) == 3
