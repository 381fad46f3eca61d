"""Steps that are passed over: only loss and gradients are read, and all again at once when something happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from aitia.engine.capture.pace import Pace
from aitia.engine.capture.recorder import Recorder
from aitia.engine.capture.session import Session
from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run

STEPS = 60


def train(steps: int = STEPS, poison: int = -1, jump: int = -1) -> tuple[list[float], nn.Module]:
    """A small training; at step `poison` the input holds a NaN, at step `jump` the loss is huge."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(steps):
        x: Tensor = torch.randn(16, 4)
        if step == poison:
            x[0, 0] = float("nan")
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), torch.arange(16) % 3)
        if step == jump:
            loss = loss * 1e4
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


@pytest.fixture(params=[False, True], ids=["short", "longer"])
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Recorder:
    """A recorder that reads every eighth step of a program fully, as if its steps were short or longer."""
    monkeypatch.setattr(Pace, "watchful", request.param)
    made = Recorder(Session(tmp_path, "test", (), None, "normal"))
    made.pace.settle()

    def step(number: int, took: float, ours: float) -> None:
        made.pace.measuring, made.pace.passing = False, 7

    monkeypatch.setattr(made.pace, "step", step)
    return made


def recorded(recorder: Recorder, poison: int = -1, jump: int = -1) -> tuple[list[float], Run]:
    recorder.install()
    losses, _ = train(poison=poison, jump=jump)
    recorder.finish()
    recorder.uninstall()
    recorder.session.close(RunStatus.FINISHED, 0)
    return losses, Run(recorder.session.path)


def test_the_training_is_what_it_is_without_us(recorder: Recorder) -> None:
    """Losses stay equal bit for bit, and no hook of ours is left behind."""
    expected, _ = train()
    losses, run = recorded(recorder)

    assert losses == expected
    assert not run.facts("recorder")
    assert not nn.modules.module._global_forward_hooks


def test_every_step_has_its_loss_and_its_gradients(recorder: Recorder) -> None:
    """What is read stands under the number that the step has in the program."""
    losses, run = recorded(recorder)
    steps, values = run.scalar("loss")

    assert list(steps) == list(range(1, STEPS + 1))
    assert list(values) == pytest.approx(losses, rel=1e-6)
    assert recorder.session.step == STEPS


def test_gradients_are_those_that_a_full_reading_finds(recorder: Recorder, tmp_path: Path) -> None:
    """Norm, largest entry and share of zeros of every parameter, at every step, equal those of the deepest level."""
    _, run = recorded(recorder)
    deep = Recorder(Session(tmp_path, "deep", (), None, "deep"))
    _, expected = recorded(deep)

    found, whole = run.wide("param"), expected.wide("param")
    assert list(found.steps) == list(range(1, STEPS + 1))
    for name in ("grad_present", "grad_norm", "grad_absmax", "grad_zero_share", "grad_nonfinite"):
        np.testing.assert_allclose(found.values[name], whole.values[name], rtol=1e-6)
    np.testing.assert_allclose(run.scalar("grad_norm")[1], expected.scalar("grad_norm")[1], rtol=1e-5)
    assert np.isnan(found.values["weight_norm"]).any()


def test_a_gradient_out_of_all_proportion_is_looked_at(recorder: Recorder) -> None:
    """A step whose gradient jumps is read like any other, before its optimizer uses it."""
    _, run = recorded(recorder, jump=20)
    plain = recorded_groups(run)

    assert 21 in plain
    assert 20 not in plain


def recorded_groups(run: Run) -> list[int]:
    """Steps that were read in the ordinary way: groups are told of in these alone."""
    return list(run.table("group")["step"])


def test_what_is_read_is_a_whole_step(recorder: Recorder) -> None:
    """Calls of the steps that were passed over are not counted into the one that is read."""
    _, run = recorded(recorder)

    assert set(run.scalar("n_backward")[1]) == {1.0}
    assert set(run.scalar("n_zero_grad")[1]) == {1.0}


def test_a_loss_that_is_not_a_number_is_seen_at_once(recorder: Recorder) -> None:
    """The backward of a NaN is recorded even in a step that would have been passed over."""
    _, run = recorded(recorder, poison=20)
    table = run.table("backward")

    assert 21 in list(table["step"])
    assert run.facts("nonfinite")
    if recorder.pace.watchful:
        assert run.facts("nonfinite")[0].data["kind"] == "input"
