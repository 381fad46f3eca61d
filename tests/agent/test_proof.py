"""A test is called proved only when it failed before and passes after; the user's tree is never touched."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from programs import accuse, run_of
from summing import PROGRAM

from aitia.agent import regression
from aitia.agent.fix import FileChangedError
from aitia.agent.incident import close
from aitia.agent.invariants import INVARIANTS, MUST_MOVE, by_diagnosis, invariant
from aitia.agent.memory import recall, with_proofs
from aitia.agent.repairs import REPAIRS
from aitia.engine.causes import CAUSES
from aitia.engine.records import Diagnosis, Fix
from aitia.engine.replay import sandbox
from aitia.engine.store.reader import Run
from aitia.journal.entries import entries


def test_no_key_reaches_the_program(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is clean but for what Python needs."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")

    shown = sandbox.run([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
                        cwd=project, timeout=20)  # fmt: skip

    seen = json.loads(shown.output)
    assert not {"OPENAI_API_KEY", "HTTPS_PROXY"} & seen.keys()
    assert "PATH" in seen


def test_what_the_program_started_is_dead_afterwards(project: Path) -> None:
    """A child in the background does not survive its parent."""
    code = ("import subprocess, sys\n"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nprint(p.pid)")  # fmt: skip

    shown = sandbox.run([sys.executable, "-c", code], cwd=project, timeout=20)

    pid = int(shown.output.strip())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def test_a_program_that_fills_the_disk_or_the_memory_is_stopped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits hold in the child and not here."""
    monkeypatch.setattr(sandbox, "FILE_BYTES", 1 << 20)
    monkeypatch.setattr(sandbox, "memory", lambda: 256 << 20)

    disk = sandbox.run([sys.executable, "-c", "open('big', 'wb').write(b'x' * (8 << 20))"], cwd=project, timeout=20)
    memory = sandbox.run([sys.executable, "-c", "x = bytearray(1 << 30)"], cwd=project, timeout=20)

    assert disk.code != 0
    assert (project / "big").stat().st_size <= 1 << 20
    assert "MemoryError" in memory.output


@pytest.mark.parametrize("cause", sorted({*REPAIRS, *INVARIANTS, *MUST_MOVE, *CAUSES}))
def test_every_cause_has_a_test_that_parses_and_asserts(run: Run, cause: str) -> None:
    """The text is Python, names the run and the cause, says it is unproved, and asserts something measured."""
    hypothesis = accuse(cause, 3, component="fc2")
    check = invariant(run, hypothesis)

    text = regression.compose(run, hypothesis, check)

    compile(text, "test_x.py", "exec")
    assert f"after run {run.id}, which suffered from {cause}.\nStatus: unproved" in text
    assert "    assert " in text
    assert 'record(ROOT / "train.py"' in text


def test_a_long_program_is_not_run_as_a_whole(run: Run) -> None:
    """Its test stops soon after the fault began."""
    hypothesis = accuse("eval.overfit", 3).model_copy(update={"onset_step": 400})
    again = Run(run.path)
    again.info = run.info.model_copy(update={"ended": run.info.created + 7200.0})

    assert invariant(run, hypothesis).steps is None
    assert invariant(again, hypothesis).steps == 800


def test_a_users_own_test_is_never_overwritten(project: Path, run: Run) -> None:
    """A file of the same name that is not ours stays, and ours stands beside it."""
    hypothesis = accuse("loop.missing_zero_grad", 3)
    text = regression.compose(run, hypothesis, by_diagnosis(hypothesis.cause))
    first = regression.write(project, run, hypothesis, text)
    assert regression.write(project, run, hypothesis, text) == first

    first.write_text("def test_mine(): ...\n", encoding="utf-8")
    second = regression.write(project, run, hypothesis, text)

    assert second != first
    assert first.read_text("utf-8") == "def test_mine(): ...\n"


def faulty(run: Run, cause: str, line: int) -> Diagnosis:
    """A diagnosis that accuses one line."""
    hypothesis = accuse(cause, line)
    return Diagnosis(run=run.id, verdict="faulty", summary="It fails.", hypotheses=(hypothesis,))


def test_an_incident_is_closed_with_fix_proof_test_and_journal(tmp_path: Path, project: Path) -> None:
    """On a real program: red as it was, green repaired, written down; the program changes only with apply."""
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})

    incident = close(run, faulty(run, "loop.missing_zero_grad", 11), project)

    assert incident.test_status == "proved", incident.test_reason
    assert incident.verification.status == "proved"
    assert "+    optimizer.zero_grad()" in str(incident.fix.diff)
    assert incident.test is not None
    assert "Status: proved" in incident.test.read_text("utf-8")
    [entry] = entries(project)
    assert (entry.path, entry.rung, entry.status) == (incident.journal, "intervention", "proved")
    assert (project / "train.py").read_text("utf-8") == PROGRAM
    assert os.listdir(project / "tests") == [incident.test.name]


TWO_FAULTS = """\
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
x = torch.randn(64, 8)
y = x.sum(1)
for step in range(120):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.mark.filterwarnings("ignore")
def test_a_second_fault_is_repaired_on_top_of_the_first(tmp_path: Path, project: Path) -> None:
    """With the first gone the second still shows; both repairs together are proved and written as one."""
    (project / "train.py").write_text(TWO_FAULTS, encoding="utf-8")
    run = run_of(tmp_path / "runs", TWO_FAULTS, optimizers={"optimizer": 6})

    incident = close(run, faulty(run, "loop.missing_zero_grad", 11), project, apply=True)

    assert [r.cause for r in incident.repaired] == ["loop.missing_zero_grad", "loss.shape_broadcast"], incident.refuted
    assert incident.verification.status == "proved"
    text = (project / "train.py").read_text("utf-8")
    assert "optimizer.zero_grad()" in text
    assert ".reshape(" in text
    assert str(incident.fix.diff).count("@@ -") >= 1
    assert [known.cause for known in recall(run)] == ["loop.missing_zero_grad", "loss.shape_broadcast"]


def test_what_was_proved_is_told_by_every_later_answer(tmp_path: Path, project: Path) -> None:
    """The rung rises, a proved cause comes first and a refuted one last."""
    run = run_of(tmp_path / "runs", PROGRAM)
    first, second = (accuse(cause, 3) for cause in ("optimizer.lr_too_high", "loop.missing_zero_grad"))
    diagnosis = faulty(run, first.cause, 3).model_copy(update={"hypotheses": (first, second)})
    known = [
        {"cause": first.cause, "rung": "association", "verification": {"status": "refuted", "method": "m"}},
        {"cause": second.cause, "rung": "replay", "verification": {"status": "proved", "method": "m"}},
    ]
    (run.path / "proof.json").write_text(json.dumps(known), encoding="utf-8")

    told = with_proofs(run, diagnosis)

    assert [(h.cause, h.rung) for h in told.hypotheses] == [(second.cause, "replay"), (first.cause, "association")]


def test_apply_writes_the_repair(tmp_path: Path, project: Path) -> None:
    """With apply the program is changed and a backup kept."""
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})

    incident = close(run, faulty(run, "loop.missing_zero_grad", 11), project, apply=True, proving=False)

    assert incident.applied == (project / "train.py",)
    assert "optimizer.zero_grad()" in (project / "train.py").read_text("utf-8")
    assert (project / "train.py.before-aitia").read_text("utf-8") == PROGRAM
    assert incident.test_reason == "proving was not asked for"


def test_a_cause_without_a_repair_gets_advice_and_an_unproved_test(tmp_path: Path, project: Path) -> None:
    """Nothing is invented, and the labels say so."""
    run = run_of(tmp_path / "runs", PROGRAM)

    incident = close(run, faulty(run, "eval.overfit", 11), project)

    assert incident.fix == Fix(summary=CAUSES["eval.overfit"].repair, kind="none")
    assert (incident.test_status, incident.verification.status) == ("unproved", "not_run")
    assert [e.status for e in entries(project)] == ["no fix"]


@pytest.mark.parametrize(("second", "cause", "status"), [
    ("loop.missing_zero_grad", "loop.missing_zero_grad", "proved"),
    ("loop.clip_before_backward", "data.label_noise", ""),
])  # fmt: skip
def test_a_later_cause_stands_in_where_its_repair_makes_all_well(
    tmp_path: Path, project: Path, second: str, cause: str, status: str
) -> None:
    """The first has no repair: the second is tried, and what does not hold leaves the first answer as it was."""
    (project / "train.py").write_text(PROGRAM, encoding="utf-8")
    run = run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})
    hypotheses = tuple(accuse(c, 11) for c in ("data.label_noise", second))
    diagnosis = faulty(run, second, 11).model_copy(update={"hypotheses": hypotheses})

    incident = close(run, diagnosis, project)

    assert incident.cause == cause
    assert (incident.verification.status == "proved") == (status == "proved")


def test_a_module_is_run_as_a_module(tmp_path: Path, run: Run) -> None:
    """`python -m package.train` is repeated as such; a notebook's block cannot be repeated, and gets no test."""
    module = run.info.model_copy(update={"script": None, "command": ("-m", "package.train", "--lr", "1")})
    block = run.info.model_copy(update={"script": None, "command": ()})
    hypothesis, check = accuse("loop.missing_zero_grad", 3), by_diagnosis("loop.missing_zero_grad")
    again = Run(run.path)

    again.info = module
    assert 'record("-m", ["package.train", "--lr", "1"], steps' in regression.compose(again, hypothesis, check)
    assert regression.place(tmp_path, again, hypothesis).name == "test_train_loop_missing_zero_grad.py"
    again.info = block
    incident = close(again, faulty(again, "loop.missing_zero_grad", 3), tmp_path)
    assert (incident.test, incident.test_status) == (None, "none")
    assert "recorded inside another program" in incident.test_reason


def test_nothing_is_left_behind_where_nothing_is_wrong(tmp_path: Path, project: Path) -> None:
    """A healthy run has nothing to fix."""
    run = run_of(tmp_path / "runs", PROGRAM)

    incident = close(run, Diagnosis(run=run.id, verdict="healthy", summary="Fine."), project, apply=True)

    assert incident.fix.kind == "none"
    assert list(project.iterdir()) == []


def test_an_undecided_run_is_not_repaired_on_suspicion(tmp_path: Path, project: Path) -> None:
    """Below the bar a repair counts only when it is proved; else nothing is written."""
    run = run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})
    undecided = faulty(run, "loop.missing_zero_grad", 11).model_copy(update={"verdict": "unknown"})

    incident = close(run, undecided, project, proving=False)

    assert "no cause is certain enough" in incident.fix.summary
    assert list(project.iterdir()) == []


def test_a_changed_program_is_refused_before_anything_runs(tmp_path: Path, project: Path) -> None:
    """With apply, a file that differs from the snapshot ends it at once, and nothing is written."""
    (project / "train.py").write_text(PROGRAM + "# later\n", encoding="utf-8")
    run = run_of(tmp_path / "runs", PROGRAM, optimizers={"optimizer": 6})

    with pytest.raises(FileChangedError, match="has changed since run"):
        close(run, faulty(run, "loop.missing_zero_grad", 11), project, apply=True)
    assert [p.name for p in project.iterdir()] == ["train.py"]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
