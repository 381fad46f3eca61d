"""The run directory: what is written is what is read, also while it grows, after a kill, and from a newer version."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aitia.engine.records import LayerInfo, ParameterInfo, RunInfo, RunStatus
from aitia.engine.store import writer as writing
from aitia.engine.store.database import plain
from aitia.engine.store.errors import RunNotFound, RunTooNew, RunUnreadable
from aitia.engine.store.reader import Run, list_runs, open_run
from aitia.engine.store.schema import FACT_KINDS, NARROW, WIDE
from aitia.engine.store.segments import Segment
from aitia.engine.store.writer import RunWriter, new_run_id


def writer_at(root: Path, name: str = "train") -> RunWriter:
    run = new_run_id(root, name)
    return RunWriter(root / run, RunInfo(id=run))


def parameter(index: int, name: str) -> ParameterInfo:
    return ParameterInfo(index=index, name=name, layer=None, shape=(2,), dtype="float32", requires_grad=True)


def test_reads_back_every_row_of_both_kinds_of_tables(tmp_path: Path) -> None:
    """Narrow rows come back as columns, wide rows as [rows, subjects]; what was left out is NaN."""
    writer = writer_at(tmp_path)
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(50, len(WIDE["param"]), 3)).astype(np.float32)
    for step, block in enumerate(blocks, start=1):
        writer.wide("param", step, block)
        writer.narrow("step", {"step": step, "loss": 1.0 / step})
    writer.close()
    run = open_run(None, tmp_path)
    wide = run.wide("param")

    assert wide.steps.tolist() == list(range(1, 51))
    for index, stat in enumerate(WIDE["param"]):
        np.testing.assert_array_equal(wide.values[stat], blocks[:, index, :])
    assert run.table("step")["loss"][3] == 0.25
    assert np.isnan(run.table("step")["grad_norm"]).all()
    assert run.n_steps == 50


def test_a_subject_that_comes_later_is_nan_before(tmp_path: Path) -> None:
    """Modules added during training widen the table; earlier rows do not know them."""
    writer = writer_at(tmp_path)
    for step in range(1, 11):
        writer.wide("layer", step, np.full((len(WIDE["layer"]), 2 if step < 6 else 3), float(step), np.float32))
    writer.close()
    values = open_run(None, tmp_path).wide("layer").values["out_mean"]

    assert np.isnan(values[:5, 2]).all()
    assert values[:, 0].tolist() == [float(s) for s in range(1, 11)]
    assert values[5:, 2].tolist() == [6.0, 7.0, 8.0, 9.0, 10.0]


def test_is_readable_while_it_grows(tmp_path: Path) -> None:
    """A reader sees what was flushed, without the writer's help."""
    writer = writer_at(tmp_path)
    writer.subject("parameter", 0, parameter(0, "a"))
    writer.fact("warning", 1, 0.5, data={"message": "x", "value": math.nan})
    writer.narrow("step", {"step": 1, "loss": 3.0})
    writer.flush()
    run = open_run(None, tmp_path)

    assert run.n_steps == 1
    assert [p.name for p in run.parameters] == ["a"]
    assert run.facts("warning")[0].data == {"message": "x", "value": "nan"}
    assert run.info.status is RunStatus.RUNNING
    writer.close()


@pytest.mark.parametrize("kept", [0, 1, 37, 500, 1500])
def test_a_segment_that_was_cut_anywhere_keeps_its_whole_batches(tmp_path: Path, kept: int) -> None:
    """After a kill the last batch may be half on disk: what came before is read, nothing raises."""
    writer = writer_at(tmp_path)
    for step in range(1, 31):
        writer.narrow("step", {"step": step, "loss": float(step)})
        if step % 10 == 0:
            writer.flush()
    writer.close()
    path = next((writer.path / "series").glob("step-*.arrow"))
    path.write_bytes(path.read_bytes()[:kept])
    steps = Run(writer.path).table("step")["step"]

    assert steps.tolist() in ([], list(range(1, 11)))


def test_refuses_a_run_of_a_newer_schema(tmp_path: Path) -> None:
    """A newer run is not misread: the error names both versions and says what to do."""
    writer = writer_at(tmp_path)
    writer.close()
    with sqlite3.connect(writer.path / "run.db") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")

    with pytest.raises(RunTooNew, match=r"schema 99.*Upgrade"):
        Run(writer.path)


def test_refuses_a_directory_that_is_no_run(tmp_path: Path) -> None:
    """An empty folder, a file that is no database, and a missing folder are told apart."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "run.db").write_bytes(b"not a database at all" * 100)

    with pytest.raises(RunUnreadable, match=r"no run\.db"):
        Run(tmp_path / "empty")
    with pytest.raises(RunUnreadable, match="cannot be read"):
        Run(tmp_path / "junk")
    with pytest.raises(RunNotFound):
        Run(tmp_path / "missing")


def test_an_unknown_run_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """The error names what there is."""
    first = writer_at(tmp_path, "alpha")
    first.close()

    with pytest.raises(RunNotFound, match=first.path.name):
        open_run("beta", tmp_path)
    assert open_run("alpha", tmp_path).id == first.path.name


def test_a_run_whose_process_is_gone_counts_as_killed(tmp_path: Path) -> None:
    """Status `running` with a dead process is a killed run; a living one is believed."""
    run = new_run_id(tmp_path, "train")
    writer = RunWriter(tmp_path / run, RunInfo(id=run, pid=2**22 + 1))
    writer.close()

    assert Run(writer.path).info.status is RunStatus.KILLED


def test_two_runs_in_the_same_second_get_two_names(tmp_path: Path) -> None:
    """Names never collide, and odd names become safe ones."""
    names = {new_run_id(tmp_path, "../../etc/passwd", now=0.0) for _ in range(3)}

    assert len(names) == 3
    assert all("/" not in n and (tmp_path / n).is_dir() for n in names)
    assert list_runs(tmp_path) == []  # none of them holds a run yet


def test_a_deleted_directory_stops_the_writer_and_nothing_else(tmp_path: Path) -> None:
    """The training thread never sees the fault; the writer says what happened."""
    writer = writer_at(tmp_path)
    writer.flush()
    shutil.rmtree(writer.path)
    for step in range(50):
        writer.narrow("step", {"step": step})
        writer.wide("param", step, np.zeros((len(WIDE["param"]), 2), np.float32))
    writer.sample("x", np.zeros(3))
    writer.flush(1.0)
    writer.close(1.0)

    assert writer.error is not None


@pytest.mark.parametrize("lasting", [False, True])
def test_rows_wait_for_a_disk_that_is_full(tmp_path: Path, monkeypatch, capsys, lasting: bool) -> None:
    """They are written when there is room again, in order; if never, they are counted. One line tells."""
    monkeypatch.setattr(writing, "RETRY_SECONDS", (0.01,))
    writer = writer_at(tmp_path)
    flush = Segment.flush

    def rows(first: int, last: int) -> None:
        for step in range(first, last):
            writer.narrow("step", {"step": step})
            writer.wide("layer", step, np.full((len(WIDE["layer"]), 1 + step // 25), step, np.float32))
        writer.flush()

    def full(self: Segment) -> None:
        if self.path.name.startswith("step"):
            raise OSError(28, "No space left on device")
        flush(self)

    rows(1, 11)
    monkeypatch.setattr(Segment, "flush", full)
    rows(11, 31)
    writer.fact("warning", 20, 1.0)
    if not lasting:
        monkeypatch.setattr(Segment, "flush", flush)
    rows(31, 41)
    writer.close()
    run = Run(writer.path)

    assert run.wide("layer").steps.tolist() == [*range(1, 41)]
    assert run.table("step")["step"].tolist() == [*range(1, 11 if lasting else 41)]
    assert run.facts("warning")
    assert [f.data["detail"].split(";")[0] for f in run.facts("recorder")] == (["30 rows"] if lasting else [])
    assert capsys.readouterr().err.count("aitia:") == 1


def test_a_row_that_can_never_be_written_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """It is dropped with those beside it, and told."""
    writer = writer_at(tmp_path)
    writer.narrow("step", {"step": "first"})
    writer.flush()
    writer.narrow("step", {"step": 2})
    writer.close()
    run = Run(writer.path)

    assert run.table("step")["step"].tolist() == [2]
    assert {f.data["what"] for f in run.facts("recorder")} == {"rows lost", "not kept"}


def test_the_last_words_find_room_on_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    """A program that dies because the disk is full can still tell: room was held for that."""
    writer = writer_at(tmp_path)
    write = writer._facts

    def full(items: list[tuple[str, object]]) -> None:
        if (writer.path / "reserve").exists():
            raise sqlite3.OperationalError("database or disk is full")
        write(items)

    monkeypatch.setattr(writer, "_facts", full)
    writer.fact("exception", 3, 1.0, data={"type": "OSError"})
    writer.update(status=RunStatus.CRASHED, exit_code=1)
    writer.flush()
    writer.close()
    run = Run(writer.path)

    assert run.info.status is RunStatus.CRASHED
    assert run.fact("exception") is not None
    assert not (run.path / "reserve").exists()


def test_a_disk_that_is_too_slow_costs_rows_and_no_memory(tmp_path: Path, monkeypatch) -> None:
    """Beyond so many bytes in the queue rows are dropped, counted, and the training goes on."""
    block = np.zeros((len(WIDE["param"]), 100), np.float32)
    monkeypatch.setattr(writing, "MAX_QUEUED_BYTES", 10 * block.nbytes)
    writer = writer_at(tmp_path)
    monkeypatch.setattr(writing, "MAX_QUEUED", 20)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_drain", lambda: None)  # the disk hangs
        for step in range(1, 101):
            writer.wide("param", step, block)
        assert writer.dropped == 89
        for step in range(1, 101):
            writer.narrow("step", {"step": step})
        assert writer.dropped == 89 + 91
        writer.fact("exception", 1, 0.1)  # facts are few, and tell most
    writer.close()

    assert Run(writer.path).n_steps == 9
    assert Run(writer.path).fact("exception") is not None
    assert Run(writer.path).wide("param").steps.tolist() == list(range(1, 12))


def test_what_can_never_be_written_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """A name that no file system takes is told; facts and rows after it are kept."""
    writer = writer_at(tmp_path)
    writer.source("x" * 5000, b"")
    writer.subject("layer", 0, {1: {2: object()}})
    writer.fact("warning", 1, 0.1)
    writer.narrow("step", {"step": 1})
    writer.close()
    run = Run(writer.path)

    assert run.n_steps == 1
    assert run.facts("warning")
    assert run.fact("recorder").data["what"] == "not kept"


def test_symlinks_out_of_the_run_are_not_followed(tmp_path: Path) -> None:
    """Samples and sources are read only from the run itself."""
    writer = writer_at(tmp_path)
    writer.source("train.py", b"x = 1\n")
    writer.sample("inputs", np.arange(3))
    writer.close()
    secret = tmp_path / "secret.npy"
    np.save(secret, np.arange(9))
    (writer.path / "samples" / "stolen.npy").symlink_to(secret)
    run = Run(writer.path)

    assert run.sources == {"train.py": "x = 1\n"}
    assert run.sample("inputs") is not None
    assert run.sample("stolen") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.inf, "inf"),
        (math.nan, "nan"),
        ({"a": (1, math.inf)}, {"a": [1, "inf"]}),
        (np.float32(2.0), 2.0),
        (object(), "object"),
    ],
)
def test_facts_hold_plain_json(value: object, expected: object) -> None:
    """No NaN literal, no object's repr: JSON that any reader takes."""
    found = plain(value)

    assert found == expected
    json.dumps(found, allow_nan=False)


def test_every_column_and_kind_is_described() -> None:
    """The schema is its own documentation: no entry without a sentence."""
    described = [*FACT_KINDS.values(), *(d for t in (*WIDE.values(), *NARROW.values()) for d in t.values())]

    assert all(len(text) > 5 for text in described)


def test_layers_and_facts_are_found_by_name(tmp_path: Path) -> None:
    """Lookups by name return the row, or None."""
    writer = writer_at(tmp_path)
    writer.subject("layer", 0, LayerInfo(index=0, name="fc", cls="Linear", kind="linear", root="model"))
    writer.fact("mode", 3, 0.1, "model", {"training": False})
    writer.fact("mode", 7, 0.2, "other", {"training": True})
    writer.close()
    run = Run(writer.path)

    assert run.layer("fc") is not None
    assert run.layer("nope") is None
    assert [f.step for f in run.facts("mode", "other")] == [7]
    assert run.fact("nonfinite") is None


def test_a_replaced_parameter_is_found_as_it_is_now(tmp_path: Path) -> None:
    """When a head is replaced, two tensors bear the name: the last one is the model's."""
    writer = writer_at(tmp_path)
    for index in range(2):
        writer.subject("parameter", index, parameter(index, "fc.weight"))
    writer.close()
    found = open_run(None, tmp_path).parameter("fc.weight")

    assert found is not None
    assert found.index == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells a zombie from a living process")
def test_a_killed_process_that_nobody_waited_for_is_no_running_run(tmp_path: Path) -> None:
    """A zombie answers to its number and is dead all the same."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = new_run_id(tmp_path, "train")
    writer = RunWriter(tmp_path / run, RunInfo(id=run, pid=child.pid))
    writer.close()
    alive = Run(writer.path).info.status
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet collected
    dead = Run(writer.path).info.status
    child.wait()

    assert alive is RunStatus.RUNNING
    assert dead is RunStatus.KILLED
