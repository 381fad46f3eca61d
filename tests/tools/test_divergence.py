"""Two runs that differ in one thing part in the quantity that this thing touches first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from torch import nn

from aitia.engine.capture.watch import watch
from aitia.engine.store.reader import Run
from aitia.tools.compare import compare_runs
from aitia.tools.divergence import first_divergence


@dataclass(frozen=True)
class Settings:
    """What can be turned in the program."""

    seed: int = 0
    data_seed: int = 1
    rate: float = 0.1
    evaluating: bool = False
    smoothing: float = 0.0
    decay: float = 0.0
    frozen: bool = False
    late: int = 99
    """Step from which on the rate is ten times as high."""


def recorded(folder: Path, s: Settings) -> Run:
    """A small network with batch norm, six steps."""
    with watch(runs=folder, name="run") as watched:
        torch.manual_seed(s.seed)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        model.train(not s.evaluating)
        if s.frozen:
            model[0].weight.requires_grad_(False)
        generator = torch.Generator().manual_seed(s.data_seed)
        x, y = torch.randn(96, 4, generator=generator), torch.randint(0, 3, (96,), generator=generator)
        optimizer = torch.optim.SGD(model.parameters(), lr=s.rate, weight_decay=s.decay)
        for step in range(1, 7):
            if step == s.late:
                optimizer.param_groups[0]["lr"] *= 10
            rows = slice(16 * (step - 1), 16 * step)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows], label_smoothing=s.smoothing).backward()
            optimizer.step()
    return watched.run()


@pytest.mark.parametrize(
    ("settings", "step", "phase", "subject"),
    [
        (Settings(seed=5), 1, "weights", "0"),
        (Settings(data_seed=2), 1, "data", None),
        (Settings(evaluating=True), 1, "mode", "1"),
        (Settings(smoothing=0.1), 1, "loss", None),
        (Settings(rate=0.2), 1, "step", "0.weight"),
        (Settings(late=4), 4, "step", "0.weight"),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else None,
)
def test_the_first_difference_is_found(
    settings: Settings, step: int, phase: str, subject: str | None, tmp_path: Path
) -> None:
    """Step, phase and the first layer or parameter."""
    a, b = recorded(tmp_path, settings), recorded(tmp_path, Settings())
    found = first_divergence(a, b)

    assert found is not None
    assert (found.step, found.phase, found.subject) == (step, phase, subject)
    rows = {row.question: row for row in compare_runs(a, b).table}
    assert set(rows) == {"what", "where", "when", "extent"}
    assert str(step) in rows["when"].is_


def test_equal_runs_do_not_part(tmp_path: Path) -> None:
    """Same seed, same program: not one measurement differs, and all batches are in common."""
    a, b = recorded(tmp_path, Settings()), recorded(tmp_path, Settings())
    found = compare_runs(a, b)

    assert found.diverged is None
    assert found.part_at_step is None
    assert "share of the training batches that the other run was given, too: 1" in found.same
    assert [row.question for row in found.table] == ["what", "extent"]


def test_other_data_are_told(tmp_path: Path) -> None:
    """No batch in common."""
    found = compare_runs(recorded(tmp_path, Settings(data_seed=2)), recorded(tmp_path, Settings()))
    (shared,) = [d for d in found.differences if d.what == "training batches in common"]

    assert (shared.aspect, shared.a, shared.b) == ("data", 0, 6)
