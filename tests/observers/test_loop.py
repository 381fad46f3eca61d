"""What is told of the calls around a step: clipping, scaling, schedules, clearing."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import nn


def loss_of(model: nn.Module) -> torch.Tensor:
    return F.mse_loss(model(torch.randn(4, 3)), torch.randn(4, 1))


def test_clip_before_backward_is_told(recording: Any) -> None:
    """Clipping that comes before this step's backward is marked so; one that comes after is not."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording:
        for late in (False, False, True):
            optimizer.zero_grad()
            loss = loss_of(model)
            if late:
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            if not late:
                loss.backward()
            optimizer.step()
    told = recording.run.facts("clip")

    assert [f.data["before_backward"] for f in told] == [True, False]
    assert [row["n_clip"] for row in recording.rows] == [1, 1, 1]
    assert recording.rows[2]["clip_max"] == 0.5
    assert recording.rows[2]["clip_norm"] == pytest.approx(told[1].data["returned"])


@pytest.mark.parametrize("unscale", [True, False])
def test_clip_before_unscale_is_told(recording: Any, unscale: bool) -> None:
    """Under a scaler, clipping without unscale_ is marked."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        loss = loss_of(model)
        scaled = scaler.scale(loss)
        scales = (
            recording.recorder.scale_of(scaled),
            recording.recorder.scale_of(scaled / 2),
            recording.recorder.scale_of(loss),
        )
        scaled.backward()
        if unscale:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    assert scales == (1024.0, 1024.0, 1.0)
    assert recording.run.fact("clip").data["before_unscale"] is not unscale
    assert recording.rows[0]["loss_scale"] == 1024.0


def test_skipped_step_and_falling_scale(recording: Any) -> None:
    """A step with infinite gradients is told as skipped, and the new scale as an update."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        scaler.scale(loss_of(model) * float("inf")).backward()
        scaler.step(optimizer)
        scaler.update()

    assert [f.data["event"] for f in recording.run.facts("scaler")] == ["built", "skip", "update"]
    assert recording.run.facts("scaler")[-1].data["previous"] == 2.0
    assert recording.rows == []


def test_scheduler_settings_and_pace(recording: Any) -> None:
    """A scheduler's settings are told when it is built, and its pace at the end."""
    model = nn.Linear(3, 1)
    with recording:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
        for _ in range(4):
            loss_of(model).backward()
            optimizer.step()
            scheduler.step()
    built, rate = recording.run.fact("scheduler_built"), recording.run.fact("scheduler_rate")

    assert (built.data["cls"], built.data["config"]["step_size"], built.file) == (
        "StepLR",
        2,
        "tests/observers/test_loop.py",
    )
    assert rate.data["steps_per_optimizer_step"] == 1.0
    assert (rate.data["n_steps"], rate.data["lr_first"]) == (4, 1.0)
    assert rate.data["lr_last"] == pytest.approx(0.01)


def test_nested_schedulers_count_once(recording: Any) -> None:
    """Schedulers inside a sequence are part of it."""
    model = nn.Linear(3, 1)
    with recording:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        warm = torch.optim.lr_scheduler.LinearLR(optimizer)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        both = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[2])
        for _ in range(3):
            loss_of(model).backward()
            optimizer.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                both.step()
    rates = {f.data["index"]: f.data["n_steps"] for f in recording.run.facts("scheduler_rate")}

    assert rates == {0: 0, 1: 0, 2: 3}
    assert recording.run.facts("scheduler_built")[2].data["config"]["inner_1"]["T_max"] == 10


@pytest.mark.parametrize("how", ["optimizer", "model", "none", "zero", "never"])
def test_clearing_is_counted(recording: Any, how: str) -> None:
    """Clearing counts however it is done, also by hand, and missing clearing counts nothing."""
    model = nn.Linear(3, 1)
    with recording:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(4):
            loss = loss_of(model)
            if how == "optimizer":
                optimizer.zero_grad()
            elif how == "model":
                model.zero_grad()
            for p in model.parameters():
                if how == "none":
                    p.grad = None
                elif how == "zero" and p.grad is not None:
                    p.grad.zero_()
            loss.backward()
            optimizer.step()
    counts = [row["n_zero_grad"] for row in recording.rows]

    assert counts[1:] == ([0, 0, 0] if how == "never" else [1, 1, 1])
