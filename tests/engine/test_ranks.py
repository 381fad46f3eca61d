"""Two ranks record themselves and are judged together: each distributed fault is named, healthy runs stay silent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from aitia.engine.capture.ranks import Plan
from aitia.engine.ranks import ranks
from aitia.engine.reason import diagnose
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run, open_run
from aitia.evals import recordings
from aitia.evals.recordings import Job, record

SOURCE = (Path(__file__).parent / "two_ranks.py").read_text("utf-8")
FAULTS = {
    "bypass": "ddp.forward_bypasses_wrapper",
    "alone": "ddp.never_synchronised",
    "new_head": "ddp.hooks_lost_after_move",
    "norm_apart": "ddp.replicated_param_diverges",
    "corrupted": "ddp.comm_corruption",
    "same_data": "ddp.same_data_on_ranks",
    "no_set_epoch": "ddp.set_epoch_missing",
    "summed_gradients": "ddp.wrong_grad_scale",
    "uneven": "ddp.uneven_steps",
    "metric_of_one": "ddp.metric_not_reduced",
}
HEALTHY = ("healthy", "averaged_by_hand", "uneven_joined", "metric_of_all")


@pytest.fixture(scope="module", autouse=True)
def forks() -> object:
    """Programs are forks of this process: torch is loaded once."""
    before = recordings._forks
    recordings.preload()
    yield
    recordings._forks = before


def recorded(fault: str, folder: Path) -> Run:
    """Rank 0 of the program with this fault."""
    made = record(Job(SOURCE, (fault,), 60.0, str(folder / "made"), fault))
    assert made.path is not None
    assert fault == "uneven" or made.code == 0, made.result.stderr[-2000:]
    run = Run(made.path)
    group = ranks(run)
    assert group is not None
    faults = [f.data for r in group.runs for f in r.facts("recorder")]
    assert not faults, faults
    return run


def judged(fault: str, folder: Path) -> Diagnosis:
    """The answer about rank 0."""
    return diagnose(recorded(fault, folder))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_between_ranks_is_named(fault: str, tmp_path: Path) -> None:
    """The first hypothesis is the cause."""
    found = judged(fault, tmp_path)

    assert found.verdict == "faulty", found.summary
    assert found.hypotheses[0].cause == FAULTS[fault]


@pytest.mark.parametrize("program", HEALTHY)
def test_healthy_ranks_are_acquitted(program: str, tmp_path: Path) -> None:
    """Also when gradients are averaged by hand, inputs are uneven on purpose, or a metric is reduced."""
    found = judged(program, tmp_path)

    assert found.verdict == "healthy", found.summary


def test_every_rank_has_its_recording(tmp_path: Path) -> None:
    """Rank 0 where runs are listed, the others beneath; their averaged gradients are bit for bit the same."""
    run = recorded("healthy", tmp_path)
    group = ranks(run)
    assert group is not None
    gradient = group.difference("grad_norm")
    assert gradient is not None

    assert [r.info.rank for r in group.runs] == [0, 1]
    assert group.complete
    assert group.alike
    assert gradient.first is None
    assert len(gradient.steps) == run.n_steps == 24
    assert ranks(group.runs[1]) is not None
    assert "loss " in run.log_tail()


def test_of_several_plans_in_one_process_the_last_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that recorded another program before, such as a notebook or this one."""
    monkeypatch.setattr(dist, "init_process_group", dist.init_process_group)
    earlier = Plan(tmp_path / "earlier", "earlier", ("earlier.py",), None, "normal", str(tmp_path), str(tmp_path))
    earlier.follow()

    assert len(ranks(recorded("healthy", tmp_path)).runs) == 2
    assert not (tmp_path / "earlier").exists()


@pytest.mark.parametrize("method", ["spawn", "torchrun"])
def test_ranks_are_found_however_they_are_started(method: str, tmp_path: Path) -> None:
    """Fresh interpreters of torch.multiprocessing, and processes of torchrun."""
    shutil.copy(Path(__file__).parent / "two_ranks.py", tmp_path / "train.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if method == "torchrun" else []
    module = ["-m", "aitia", "run", "--runs", "runs", "train.py", "bypass", method]
    done = subprocess.run(
        [sys.executable, *launcher, *module], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]

    assert diagnose(open_run(None, tmp_path / "runs")).hypotheses[0].cause == FAULTS["bypass"]
