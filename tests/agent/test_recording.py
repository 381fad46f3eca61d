"""The helper of generated tests: a program runs in its own process under the recorder, as far as it is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from runs import write_run

from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run
from aitia.testing import RecordingError, causes, finite, largest_update, record, update_ratios

PROGRAM = """\
import sys
import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(int(sys.argv[1])):
    optimizer.zero_grad()
    loss = (model(torch.ones(8, 4)) ** 2).mean()
    loss.backward()
    optimizer.step()
raise KeyError("the end was reached")
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that takes as many steps as it is told and then fails."""
    path = tmp_path_factory.mktemp("program") / "train.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def test_a_program_is_stopped_after_the_steps_that_are_wanted(script: Path) -> None:
    """All of them are recorded, none more; the program's folder stays clean."""
    pytest.importorskip("torch")

    run = record(script, ["1000"], steps=7)

    assert (run.n_steps, run.info.status) == (7, RunStatus.FINISHED)
    assert largest_update(run, "weight") > 0
    assert largest_update(run, "weight", since=8) == 0
    assert update_ratios(run).shape == (7,)
    assert [p.name for p in script.parent.iterdir()] == ["train.py"]


def test_a_program_that_fails_is_still_a_run(script: Path) -> None:
    """What it died of is in the run."""
    pytest.importorskip("torch")

    run = record(script, ["3"], steps=None)

    assert run.n_steps == 3
    assert run.info.failure is not None
    assert run.info.failure.type == "KeyError"


def test_what_leaves_no_recording_is_an_error(tmp_path: Path) -> None:
    """A missing script and a hang end with words, not with an empty run."""
    hang = tmp_path / "hang.py"
    hang.write_text("import time\ntime.sleep(60)\n", encoding="utf-8")

    with pytest.raises(RecordingError, match="there is no script"):
        record(tmp_path / "missing.py", steps=None)
    with pytest.raises(RecordingError, match="did not end within 1 s"):
        record(hang, steps=None, timeout=1)


def test_measurements_that_were_not_taken_are_left_out() -> None:
    """NaN means not measured; infinity was measured."""
    assert finite([1.0, math.nan, math.inf]).tolist() == [1.0, math.inf]


def test_accused_causes_are_named(tmp_path: Path) -> None:
    """Of a faulty run its causes, of a healthy one none."""
    stale: Run = write_run(tmp_path, "stale_head")

    assert causes(stale) == {"optimizer.stale_param_reference"}
    assert causes(write_run(tmp_path, "healthy")) == set()
    assert np.isfinite(update_ratios(stale)).all()
