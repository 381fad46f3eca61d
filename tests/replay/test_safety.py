"""A program that misbehaves is run again without harm: it ends with all it started, and the project stays as it was."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import accuse, run_of

from aitia.agent.incident import close
from aitia.engine.records import Diagnosis
from aitia.engine.replay import confine, replay, sandbox
from aitia.engine.replay.replay import Played, Replays, Trial

TRAIN = """\
import torch
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(5):
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
"""


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """A project with one precious file, whose program is replaced by that of each test."""
    folder = tmp_path_factory.mktemp("safety")
    project = folder / "project"
    project.mkdir()
    (project / "data.txt").write_text("precious", encoding="utf-8")
    (project / "train.py").write_text(TRAIN, encoding="utf-8")
    with Replays(run_of(folder / "runs", TRAIN), project, seconds=60.0) as made:
        yield made


def play(replays: Replays, source: str) -> Played:
    """Run a program once; whatever it does, the project stays as it was."""
    [played] = replays.play([Trial("placebo", {"train.py": source})])

    assert {p.name: p.read_text("utf-8") for p in replays.root.iterdir()} == {"data.txt": "precious", "train.py": TRAIN}
    return played


def test_a_program_that_writes_finds_its_files_in_the_copy(replays: Replays) -> None:
    """Paths relative to the project and to the script lead into the copy, which starts as the project is."""
    played = play(replays, TRAIN + (
        "from pathlib import Path\n"
        "assert Path('data.txt').read_text() == 'precious'\n"
        "Path('data.txt').write_text('gone')\nPath(__file__).with_name('data.txt').unlink()\n"
        "torch.save(model.state_dict(), 'model.pt')\nprint('written')\n"
    ))  # fmt: skip

    assert (played.code, played.output) == (0, "written\n")
    assert played.run is not None
    assert played.run.n_steps == 5


@pytest.mark.parametrize(
    "line",
    ["open({path!r}, 'w')", "__import__('os').remove({path!r})", "torch.save(model.state_dict(), {path!r})",
     "__import__('subprocess').run(['sh', '-c', 'echo gone > ' + {path!r}], check=True)"],
    ids=["open", "remove", "from C++", "from a child"],
)  # fmt: skip
def test_a_program_that_writes_elsewhere_is_stopped(replays: Replays, line: str) -> None:
    """An absolute path into the project is refused, whoever opens it."""
    if not confine.available() and "open" not in line and "remove" not in line:
        pytest.skip("this kernel cannot confine C++ code and children")

    played = play(replays, TRAIN + line.format(path=str(replays.root / "data.txt")))

    assert played.code == 1
    assert played.run is not None
    assert played.run.info.failure is not None


def test_a_program_that_hangs_is_ended_with_its_recording(replays: Replays) -> None:
    """The deadline asks first, so that what was measured until then is there."""
    replays.seconds = 20.0
    played = play(replays, TRAIN + "import time\nwhile True:\n    time.sleep(1)\n")
    replays.seconds = 60.0

    assert played.code is None
    assert played.run is not None
    assert played.run.n_steps == 5


def test_a_program_that_ignores_signals_is_killed(replays: Replays) -> None:
    """The deadline does not ask twice."""
    replays.seconds = 6.0
    started = time.monotonic()
    played = play(replays, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass\n")
    replays.seconds = 60.0

    assert played.code is None
    assert time.monotonic() - started < 45


def test_what_a_program_forks_dies_with_it(replays: Replays) -> None:
    """A child, and a grandchild that left its process group."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("the program has no place to leave its children's numbers")
    note = Path("/dev/shm") / f"aitia-{uuid.uuid4().hex}"
    try:
        played = play(replays, (
            "import os, time\n"
            "for leave in (False, True):\n"
            "    if os.fork() == 0:\n"
            "        if leave:\n            os.setsid()\n"
            f"        open({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
            "        time.sleep(60)\n        os._exit(0)\n"
            "time.sleep(1)\n" + TRAIN
        ))  # fmt: skip
        pids = [int(line) for line in note.read_text("utf-8").split()]
    finally:
        note.unlink(missing_ok=True)

    assert played.code == 0
    assert len(pids) == 2
    assert [p for p in pids if _alive(p)] == []


def test_a_program_that_fills_memory_ends_in_a_memory_error(replays: Replays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is not brought down, and the recording says what happened."""
    monkeypatch.setattr(sandbox, "memory", lambda: 8 << 30)

    played = play(replays, TRAIN + "x = [bytearray(1 << 30) for _ in range(16)]\n")

    assert played.run is not None
    assert played.run.info.failure is not None
    assert played.run.info.failure.type == "MemoryError"


def test_a_program_that_fills_the_disk_is_stopped(replays: Replays, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file grows beyond its limit."""
    monkeypatch.setattr(sandbox, "FILE_BYTES", 4 << 20)

    played = play(replays, TRAIN + "open('big', 'wb').write(b'x' * (64 << 20))\n")

    assert played.code != 0


def test_a_proof_that_cannot_be_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of `aitia fix` on a program that hangs: no proof, the reason, and nothing written into the program."""
    monkeypatch.setattr(replay, "SHORTEST_S", 3.0)
    project = tmp_path / "project"
    project.mkdir()
    source = TRAIN.replace("for _", "import time\ntime.sleep(90)\nfor _")
    (project / "train.py").write_text(source, encoding="utf-8")
    run = run_of(tmp_path / "runs", source, optimizers={"optimizer": 3})
    diagnosis = Diagnosis(run=run.id, verdict="faulty", summary="It fails.",
                          hypotheses=(accuse("loop.missing_zero_grad", 6),))  # fmt: skip

    incident = close(run, diagnosis, project, apply=True)

    assert incident.verification.status == "inconclusive"
    assert "run again without a change, it does not show" in incident.verification.details["reason"]
    assert incident.applied == ()
    assert (project / "train.py").read_text("utf-8") == source


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
