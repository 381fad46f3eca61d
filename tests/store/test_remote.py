"""Runs at a URL: recorded here, read elsewhere, and a network that fails is no matter of the training's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from aitia.engine.capture.session import Session
from aitia.engine.records import RunStatus
from aitia.engine.store import pack as packing
from aitia.engine.store import remote as remoting
from aitia.engine.store import segments
from aitia.engine.store import upload as uploading
from aitia.engine.store.errors import AitiaError, RunNotFound
from aitia.engine.store.reader import Run, list_runs, open_run, runs_root
from aitia.engine.store.remote import Remote, url_of
from aitia.engine.store.retention import remove
from aitia.engine.store.schema import WIDE

URL = "memory://bucket/runs"
Machine = Callable[[str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Be on another machine: one with a cache of its own."""
    monkeypatch.setattr(remoting, "LIST_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "EVERY_SECONDS", 3600.0)  # the tests say when

    def go(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("trainer")
    yield go
    fsspec.filesystem("memory").store.clear()


def begin(name: str = "train") -> Session:
    return Session(Path(URL), name, ("train.py",), "train.py", "normal")


def rows(session: Session, first: int, last: int) -> None:
    for step in range(first, last):
        session.writer.narrow("step", {"step": step, "loss": 1.0 / step})
        session.writer.wide("layer", step, np.full((len(WIDE["layer"]), 3), float(step), np.float32))
    session.writer.source("train.py", b"x = 1\n")
    session.writer.flush()


def there() -> list[str]:
    fs = fsspec.filesystem("memory")
    return sorted(name.partition("/runs/")[2] for name in fs.find("/bucket/runs"))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/runs", "s3://bucket/runs"),
        (Path("s3://bucket/runs"), "s3://bucket/runs"),
        (Path("file:///tmp/runs"), "file:///tmp/runs"),
        (Path(".aitia"), None),
        ("/srv/runs", None),
        ("C:\\runs", None),
    ],
)
def test_urls_are_told_from_folders(given: str | Path, url: str | None) -> None:
    """Also after `Path` has swallowed a slash."""
    assert url_of(given) == url


def test_a_run_recorded_here_is_read_elsewhere(machine: Machine) -> None:
    """All of it, with the same numbers, after it ended."""
    session = begin()
    rows(session, 1, 21)
    session.close(RunStatus.FINISHED, 0)
    machine("reader")
    run = open_run(None, runs_root(URL))

    assert run.id == session.path.name
    assert run.path != session.path
    assert run.info.status is RunStatus.FINISHED
    assert run.table("step")["loss"].tolist() == [1.0 / step for step in range(1, 21)]
    assert run.wide("layer").values["out_std"][:, 2].tolist() == list(range(1, 21))
    assert run.sources == {"train.py": "x = 1\n"}


def test_a_list_of_runs_fetches_little(machine: Machine) -> None:
    """Databases and steps; layers and sources come when the run is opened."""
    session = begin()
    rows(session, 1, 21)
    session.close(RunStatus.FINISHED, 0)
    machine("reader")
    path = list_runs(runs_root(URL))[0]

    assert Run(path).n_steps == 20
    assert sorted(p.name for p in path.rglob("*") if p.is_file() and p.name[0] != ".") == ["run.db", "step-0000.arrow"]
    open_run(path.name, path.parent)
    assert (path / "source" / "train.py").is_file()


def test_a_reader_elsewhere_follows_a_growing_run(machine: Machine) -> None:
    """What was sent is readable while the run goes on; what came since is fetched the next time."""
    session = begin()
    upload = session.upload
    assert upload is not None
    rows(session, 1, 11)
    upload.sender.send(final=False)
    machine("reader")
    first = open_run(None, runs_root(URL))
    seen = (first.n_steps, first.info.status)
    rows(session, 11, 31)
    upload.sender.send(final=False)
    second = open_run(None, runs_root(URL)).n_steps
    session.close(RunStatus.CRASHED, 1)
    last = open_run(None, runs_root(URL))
    assert open_run("latest", runs_root(URL)).id == last.id

    assert seen == (10, RunStatus.RUNNING)
    assert second == 30
    assert (last.n_steps, last.info.status) == (30, RunStatus.CRASHED)


def test_what_is_new_is_sent_while_the_program_runs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of its own, without being asked."""
    monkeypatch.setattr(uploading, "EVERY_SECONDS", 0.02)
    session = begin()
    rows(session, 1, 11)
    deadline = time.monotonic() + 20
    while not any(name.endswith("run.db") for name in there()) and time.monotonic() < deadline:
        time.sleep(0.02)
    machine("reader")

    assert open_run(None, runs_root(URL)).info.status is RunStatus.RUNNING
    session.close(RunStatus.FINISHED, 0)


def test_a_packed_run_leaves_no_segments_there(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed segments are sent during the training; at the end Parquet takes their place, also in older mirrors."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 5_000)
    monkeypatch.setattr(packing, "PAYS_BYTES", 1)
    session = begin()
    assert session.upload is not None
    for first in range(1, 60, 10):
        rows(session, first, first + 10)
    session.upload.sender.send(final=False)
    machine("reader")
    open_run(None, runs_root(URL))
    assert sum(name.endswith(".arrow") for name in there()) > 3
    session.close(RunStatus.FINISHED, 0)
    run = open_run(None, runs_root(URL))

    assert not [name for name in there() if name.endswith(".arrow")]
    assert not list(run.path.rglob("*.arrow"))
    assert run.wide("layer").steps.tolist() == list(range(1, 61))


def test_a_failing_network_costs_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The run is whole on this machine, and the line says where."""

    def down(*_: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Remote, "put", down)
    session = begin()
    rows(session, 1, 21)
    session.close(RunStatus.FINISHED, 0)
    err = capsys.readouterr().err

    assert err.count("\n") == 1
    assert "no route to host" in err
    assert str(session.path) in err
    assert Run(session.path).n_steps == 20


def test_a_network_that_came_back_is_forgiven(machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """What failed is sent again; nobody needs to know."""
    session = begin()
    assert session.upload is not None
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "put", lambda *_: 1 / 0)
        session.upload.attempt(final=False)
    rows(session, 1, 21)
    session.close(RunStatus.FINISHED, 0)
    machine("reader")

    assert open_run(None, runs_root(URL)).n_steps == 20
    assert capsys.readouterr().err == ""


def test_a_killed_run_is_sent_by_the_next_one(machine: Machine) -> None:
    """Its last words reached this machine's disk; the next recording takes them along."""
    killed = begin("killed")
    rows(killed, 1, 21)
    killed.writer.update(pid=2**22 + 1)
    killed.writer.flush()
    assert there() == []
    after = begin("after")
    after.close(RunStatus.FINISHED, 0)
    killed.closed = True
    killed.writer.close()
    machine("reader")
    run = open_run("killed", runs_root(URL))

    assert run.n_steps == 20
    assert run.info.status is RunStatus.KILLED


def test_a_process_of_another_machine_that_fell_silent_is_gone(machine: Machine, monkeypatch) -> None:
    """It cannot be asked; for an hour it is believed."""
    session = begin()
    rows(session, 1, 3)
    path = session.path
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    now = Run(path).info.status
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 7200)
    later = Run(path).info.status
    monkeypatch.undo()
    session.close(RunStatus.FINISHED, 0)

    assert now is RunStatus.RUNNING
    assert later is RunStatus.KILLED


def test_without_a_network_the_mirror_is_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded or fetched here needs nobody; with nothing here the error names the URL."""
    session = begin()
    rows(session, 1, 6)
    session.close(RunStatus.FINISHED, 0)

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Remote, "_find", down)

    assert open_run(None, runs_root(URL)).n_steps == 5
    machine("stranger")
    with pytest.raises(AitiaError, match=r"memory://bucket/runs cannot be read.*no route"):
        open_run(None, runs_root(URL))


def test_names_that_lead_out_of_the_folder_are_not_fetched(machine: Machine, tmp_path: Path, monkeypatch) -> None:
    """Whoever can write to the bucket cannot write elsewhere on the reader's disk."""
    session = begin()
    rows(session, 1, 6)
    session.close(RunStatus.FINISHED, 0)
    fs = fsspec.filesystem("memory")
    found, run = fs.find("/bucket/runs", detail=True), session.path.name
    evil = {f"/bucket/runs/{run}/../../../evil": {"size": 1}, f"/bucket/runs/{run}/.fetched.json": {"size": 1}}
    monkeypatch.setattr(type(fs), "find", lambda *_, **__: {**found, **evil})
    machine("reader")
    names = dict(Remote(URL, tmp_path)._find(""))

    assert f"{run}/run.db" in names
    assert not [name for name in names if "evil" in name or ".fetched" in name]


def test_removing_a_run_removes_it_there(machine: Machine) -> None:
    """And in the mirrors that had fetched it."""
    session = begin()
    rows(session, 1, 6)
    session.close(RunStatus.FINISHED, 0)
    machine("reader")
    fetched = open_run(None, runs_root(URL)).path
    machine("trainer")
    remove(session.path)
    machine("reader")

    assert there() == []
    with pytest.raises(RunNotFound):
        open_run(None, runs_root(URL))
    assert not fetched.exists()


def test_the_command_line_takes_a_url(tmp_path: Path) -> None:
    """`aitia run --runs URL`, and `aitia why --runs URL` on another machine."""
    url = (tmp_path / "store").as_uri()
    (tmp_path / "train.py").write_text("print('trained')\nraise ValueError('bad')\n")

    def call(home: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / home)}
        command = [sys.executable, "-m", "aitia", words[0], "--runs", url, *words[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    recorded = call("trainer", "run", "train.py")
    answer = call("reader", "why", "--json")

    assert (recorded.returncode, recorded.stdout) == (1, "trained\n")
    assert json.loads(answer.stdout)["run"].endswith("-train")
    assert "ValueError" in answer.stdout
