"""Whatever happens to the disk, the clock or the process: the training goes its way, and what was kept is readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aitia.agent.diagnosis import answer
from aitia.cli import app
from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run, list_runs

TRAIN = """
import os, sys, time
import torch
torch.manual_seed(0)
model = torch.nn.Linear(64, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def train(steps, pause=0.0):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 64)).square().mean()
        loss.backward()
        optimizer.step()
        time.sleep(pause)
    sys.stdout.write(f"{loss.item()}\\n")  # at once: a forked child writes to the same file
runs = os.environ["AITIA_RUNS"]
"""
"""Start of every program here; `train` is its loop."""

MISHAPS = {
    "no room for a while": """
        import resource
        train(100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        train(100, 0.006)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        time.sleep(1.2)
        train(100, 0.006)
        """,
    "no room from now on": """
        import resource
        train(100, 0.006)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        train(100, 0.01)
        sys.exit(3)
        """,
    "no space left": """
        import errno
        from aitia.engine.store import segments
        class Full:
            def write(self, data): raise OSError(errno.ENOSPC, "No space left on device")
            def tell(self): return 0
            def flush(self): pass
            def close(self): pass
            closed = False
        train(100, 0.006)
        segments.open = lambda *args, **more: Full()
        for table in list(__import__("gc").get_objects()):
            if type(table) is segments.Segment:
                table._writer, table._file = None, Full()
        train(100, 0.01)
        """,
    "directory removed": """
        import shutil
        train(50)
        time.sleep(0.6)
        shutil.rmtree(runs)
        train(100, 0.01)
        """,
    "os._exit": "train(100, 0.01)\nsys.stdout.flush()\nos._exit(5)",
    "fork": """
        train(20)
        sys.stdout.flush()
        child = os.fork()
        train(5)
        sys.stdout.flush()
        if child == 0:
            sys.exit(4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        train(20)
        """,
    "forked child that leaves at once": """
        train(20)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os._exit(4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        train(20)
        """,
    "clock": """
        now, leap = time.time, [0.0]
        time.time = lambda: now() + leap[0]
        for leap[0] in (0.0, -3e8, 3e9, -1e5):
            train(20, 0.03)
        """,
}
HINTED = {"no room for a while", "no room from now on", "no space left", "directory removed"}
GONE = {"directory removed"}
STATUS = {"os._exit": RunStatus.KILLED}


ALONE = """
import os, sys, json, runpy, torch
programs, results = json.loads(sys.argv[1]), {}
for name, path in programs.items():
    os.makedirs(os.environ["AITIA_RUNS"], exist_ok=True)
    child = os.fork()  # torch is there already, which saves most of the time
    if not child:
        for number, end in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(path + end, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        runpy.run_path(path, run_name="__main__")
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    results[name] = (code, open(path + ".out").read(), open(path + ".err").read())
print(json.dumps(results))
"""
"""Runs every program without a recorder and tells exit code, output and errors."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """How each program ends when nobody watches."""
    folder = tmp_path_factory.mktemp("alone")
    programs = {}
    for name, source in MISHAPS.items():
        path = folder / f"{len(programs)}.py"
        path.write_text(TRAIN + textwrap.dedent(source))
        programs[name] = str(path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AITIA_RUNS": str(folder / "runs")}
    command = [sys.executable, "-c", ALONE, json.dumps(programs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True)
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


def start(folder: Path, source: str, runs: Path | str) -> subprocess.Popen[str]:
    (folder / "train.py").write_text(TRAIN + textwrap.dedent(source))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AITIA_RUNS": str(runs), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "aitia.engine.capture.launch", "train.py"],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def own_lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("aitia:")]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[dict[str, object]]]:
    """What `aitia runs` says; asking must not fail."""

    def ask() -> list[dict[str, object]]:
        done = CliRunner().invoke(app, ["runs", "--json", "--runs", str(tmp_path / "runs")], catch_exceptions=False)
        assert done.exit_code == 0
        found: list[dict[str, object]] = json.loads(done.stdout)["runs"]
        return found

    return ask


@pytest.mark.parametrize("mishap", MISHAPS)
def test_the_training_ends_as_it_would_have_alone(tmp_path: Path, mishap: str, alone, told) -> None:
    """Same output, same exit code, at most one line of ours; the run answers, unless someone removed it."""
    runs = tmp_path / "runs"
    code, out, err = finish(start(tmp_path, MISHAPS[mishap], runs))
    rest = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("aitia:"))

    assert [code, out, rest] == alone[mishap]
    assert len(own_lines(err)) == (1 if mishap in HINTED else 0)
    if mishap in GONE:
        assert list_runs(runs) == []
        assert told() == []
        return
    run = Run(list_runs(runs)[0])
    assert run.n_steps > 15
    assert (run.table("step")["step"][1:] > run.table("step")["step"][:-1]).all()
    if mishap != "no room from now on":
        assert run.info.status is STATUS.get(mishap, RunStatus.FINISHED)
    if mishap == "no room for a while":
        assert run.n_steps == len(run.table("step")["step"]) == 300  # what could not be written at once was kept
    assert answer(run).run == run.id
    assert [row["steps"] for row in told()] == [run.n_steps]


@pytest.mark.parametrize("place", ["/proc/runs", "file"])
def test_where_nothing_can_be_written_the_program_runs_unrecorded(tmp_path: Path, place: str) -> None:
    """A read-only file system, or a file where the folder should be: one line, and the program's own end."""
    (tmp_path / "file").write_text("")
    runs = place if place.startswith("/") else tmp_path / place
    code, out, err = finish(start(tmp_path, "print(sys.argv, __name__)\nsys.exit(7)", runs))

    assert (code, out) == (7, "['train.py'] __main__\n")
    assert len(own_lines(err)) == 1
    assert "nothing is recorded" in err


def test_runs_that_start_at_the_same_moment_have_their_own_directories(tmp_path: Path, told) -> None:
    """Four processes, one name, one second."""
    (tmp_path / "train.py").write_text("print('x')\n")
    command = [sys.executable, "-m", "aitia.engine.capture.launch", "--runs", str(tmp_path / "runs"), "train.py"]
    started = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(4)]

    assert [process.wait(60) for process in started] == [0] * 4
    assert len({row["run"] for row in told()}) == 4
    assert all(row["status"] == "finished" for row in told())


def test_a_reader_follows_a_growing_run(tmp_path: Path) -> None:
    """What a step measured is readable within a second, while the program runs; the end is seen, too."""
    process = start(tmp_path, "train(600, 0.004)\nprint('end')", tmp_path / "runs")
    try:
        seen: list[tuple[int, float]] = []
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            for path in list_runs(tmp_path / "runs"):
                run = Run(path)
                if run.n_steps and (not seen or run.n_steps > seen[-1][0]):
                    seen.append((run.n_steps, time.monotonic()))
                    assert run.info.status is RunStatus.RUNNING or process.wait(30) == 0
                    assert len(run.of_parameter("weight", "grad_norm")[1]) > 0
            time.sleep(0.2)
        finish(process)
    finally:
        process.kill()
    run = Run(list_runs(tmp_path / "runs")[0])

    assert len(seen) >= 4
    assert run.n_steps == 600
    assert run.info.status is RunStatus.FINISHED
