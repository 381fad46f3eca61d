"""The numbers of a recording, against slow and obvious readings of the same tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toys import data, net

from aitia.engine.capture import stats, step_reading


@pytest.mark.parametrize("where", ["host", "device"])
def test_numbers_are_those_of_a_slow_obvious_reading(record, monkeypatch, where: str) -> None:
    """Loss, gradient norm, weights, updates and layer statistics agree with torch's own operations.

    `device` takes the way of tensors that are not in host memory: torch operations, one transfer per step.
    """
    if where == "device":
        monkeypatch.setattr(stats, "host", lambda x: None)
        monkeypatch.setattr(stats, "host_row", lambda *args: None)
    x, y = data()
    model = net()
    seen: list[dict[str, float]] = []

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            hidden = model[0](x)
            out = model[2](model[1](hidden))
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            before = model[0].weight.detach().clone()
            grads = [p.grad.clone() for p in model.parameters()]
            optimizer.step()
            seen.append(
                {
                    "loss": loss.item(),
                    "norm": torch.cat([g.flatten() for g in grads]).norm().item(),
                    "update": (model[0].weight - before).norm().item(),
                    "weight": model[0].weight.norm().item(),
                    "absmax": grads[0].abs().max().item(),
                    "mean": hidden.mean().item(),
                    "std": out.std(correction=0).item(),
                    "zeros": (model[1](hidden) == 0).float().mean().item(),
                }
            )

    run = record(train)
    table = run.table("step")
    for i, expected in enumerate(seen):
        assert table["loss"][i] == pytest.approx(expected["loss"], rel=1e-6)
        assert table["grad_norm"][i] == pytest.approx(expected["norm"], rel=1e-5)
        assert run.of_parameter("0.weight", "update_norm")[1][i] == pytest.approx(expected["update"], rel=1e-5)
        assert run.of_parameter("0.weight", "weight_norm")[1][i] == pytest.approx(expected["weight"], rel=1e-5)
        assert run.of_parameter("0.weight", "grad_absmax")[1][i] == pytest.approx(expected["absmax"], rel=1e-5)
        assert run.of_layer("0", "out_mean")[1][i] == pytest.approx(expected["mean"], rel=1e-4, abs=1e-6)
        assert run.of_layer("model", "out_std")[1][i] == pytest.approx(expected["std"], rel=1e-4)
        assert run.of_layer("1", "out_zero_share")[1][i] == pytest.approx(expected["zeros"], abs=1e-6)


def test_large_parameters_are_sampled(record, monkeypatch) -> None:
    """The update norm of a thinned-out parameter is that of the whole within a few percent."""
    monkeypatch.setattr(step_reading, "MAX_COPIED", 3_000)
    model = nn.Linear(100, 100)
    start = model.weight.detach().clone()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.randn(64, 100)).square().mean().backward()
        optimizer.step()

    run = record(train)
    expected = (model.weight - start).norm().item()

    assert run.of_parameter("weight", "update_norm")[1][0] == pytest.approx(expected, rel=0.1)
    assert run.of_parameter("weight", "update_share")[1][0] == pytest.approx(1.0, abs=0.01)


class Odd(nn.Module):
    """Keyword arguments, an LSTM's nested output, a dictionary, sparse gradients, a tied weight, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6, sparse=True)
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.act = nn.ReLU(inplace=True)
        self.inner, self.again = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.again.weight = self.inner.weight
        self.complex = nn.Parameter(torch.ones(6, dtype=torch.complex64))

    def forward(self, *, ids: Tensor) -> dict[str, Tensor]:
        out, (h, _) = self.rnn(self.embed(ids))
        out = self.act(self.inner(out)) + self.again(out)
        return {"out": out, "extra": (h[0] * self.complex).abs()}


def test_odd_outputs_and_gradients_are_measured(record) -> None:
    """Nothing in the recorder fails on them, and the numbers are there."""
    ids = torch.arange(12).reshape(3, 4) % 10

    def train() -> None:
        model = Odd()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            out = model(ids=ids)
            (out["out"].square().mean() + out["extra"].mean()).backward()
            optimizer.step()

    run = record(train)

    assert (run.of_parameter("embed.weight", "grad_norm")[1] > 0).all()
    assert (run.of_parameter("complex", "grad_norm")[1] > 0).all()
    assert run.parameter("again.weight").tied_to == "inner.weight"
    assert run.table("batch")["n"].tolist() == [3.0] * 3
    assert (run.of_layer("rnn", "gout_norm")[1] > 0).all()
    assert (run.of_layer("act", "out_min")[1] >= 0).all()


def test_scaled_gradients_are_told_unscaled(record) -> None:
    """Under a GradScaler loss and gradients have their own size, and a skipped step is no step."""
    x, y = data()
    model = net()
    truth = torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
    expected = torch.cat([g.flatten() for g in truth]).norm().item()

    def train() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            scaler.scale(loss * math.inf if step == 1 else loss).backward()
            scaler.step(optimizer)
            scaler.update()

    run = record(train)
    table = run.table("step")

    assert run.n_steps == 3
    assert table["grad_norm"] == pytest.approx([expected] * 3, rel=1e-4)
    assert table["loss"][0] == pytest.approx(math.log(3), rel=0.5)
    root = run.of_layer("model", "gout_norm")[1]
    assert root[0] == pytest.approx(root[-1], rel=1e-4)
    assert root[0] < 1.0
