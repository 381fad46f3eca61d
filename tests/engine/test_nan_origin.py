"""The first non-finite value of a run is pinned to operation, module, kind of tensor, sample, step and direction.

Each program trains calmly until, at a step of its own choosing, one sample goes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from torch import Tensor, nn

from aitia.engine.capture.watch import watch
from aitia.engine.reason import diagnose
from aitia.engine.store.reader import Run

BAD_STEP = 6
STEPS = 9
ROWS = 6
ROW = 4
"""The sample that goes wrong."""
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Origin:
    """What must be found."""

    kind: str
    where: str
    op: str
    module: str = ""
    row: int | None = ROW
    step: int = BAD_STEP
    cause: str | None = None
    line: str | None = None
    """Marker at the end of the accused line of this file."""


PROGRAMS: list[tuple[Callable[[], None], Origin]] = []


def origin(**found: Any) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a program with the origin that it must be traced to."""

    def register(program: Callable[[], None]) -> Callable[[], None]:
        PROGRAMS.append((program, Origin(**found)))
        return program

    return register


def batch(step: int, width: int = 5) -> tuple[Tensor, Tensor]:
    """Six samples of features between one half and one and a half; sample four of the bad step is all zero."""
    x, y = torch.rand(ROWS, width) + 0.5, torch.rand(ROWS, 1)
    if step == BAD_STEP:
        x[ROW] = 0.0
    return x, y


def train(model: nn.Module, loss: Loss = F.mse_loss, data: Any = batch, rate: float = 0.01) -> None:
    """A plain loop with SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for step in range(1, STEPS + 1):
        x, y = data(step)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


class Block(nn.Module):
    """Applies a function of the hidden state; its own module, so that it can be named."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def net(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """A layer without bias keeps a sample of zeros at zero until the block `middle`."""
    layers = {"first": nn.Linear(5, 8, bias=False), "middle": Block(function), "last": nn.Linear(8, 1)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


@origin(kind="gradient", where="backward", op="SqrtBackward0", module="middle",
        cause="numerics.sqrt_at_zero_backward", line="root")  # fmt: skip
def square_root_at_zero() -> None:
    train(net(lambda h: torch.sqrt(h.square())))  # root


@origin(kind="activation", where="forward", op="log", module="middle", cause="numerics.log_zero", line="log")
def logarithm_of_zero() -> None:
    train(net(lambda h: torch.log(h.abs())))  # log


@origin(kind="loss", where="loss", op="LogBackward0", cause="numerics.log_zero", line="loss log")
def logarithm_in_a_loss_by_hand() -> None:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return -(y * torch.log(out.abs())).mean()  # loss log

    model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False))
    train(model, loss)


@origin(kind="gradient", where="backward", op="PowBackward0", module="middle",
        cause="numerics.masked_branch_nan", line="hidden")  # fmt: skip
def branch_that_where_hides() -> None:
    def power(h: Tensor) -> Tensor:
        size = h.abs()
        return torch.where(size > 0, size**0.3, torch.zeros_like(h))  # hidden

    train(net(power))


@origin(kind="activation", where="forward", op="div", module="middle",
        cause="numerics.divide_by_zero_scale", line="quotient")  # fmt: skip
def division_by_the_own_norm() -> None:
    train(net(lambda h: h / h.norm(dim=1, keepdim=True)))  # quotient


@origin(kind="activation", where="forward", op="exp", module="middle", cause="numerics.exp_overflow", line="exp")
def exponential_of_an_outlier() -> None:
    def outlier(step: int) -> tuple[Tensor, Tensor]:
        x, y = torch.rand(ROWS, 5) * 0.1, torch.rand(ROWS, 1)
        if step == BAD_STEP:
            x[ROW] = 1e5
        return x, y

    train(net(lambda h: torch.exp(h.abs())), data=outlier)  # exp


@origin(kind="activation", where="forward", op="addmm", module="model.last", cause="precision.half_overflow")
def half_precision_beyond_its_range() -> None:
    def outlier(step: int) -> tuple[Tensor, Tensor]:
        x, y = torch.rand(ROWS, 5), torch.rand(ROWS, 1)
        if step == BAD_STEP:
            x[ROW] = 6e4
        return x, y

    model = nn.Sequential()
    model.add_module("first", nn.Linear(5, 8))
    model.add_module("last", nn.Linear(8, 1))
    nn.init.constant_(model.first.weight, 0.19)
    nn.init.constant_(model.last.weight, 0.9)

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.float16):
                out: Tensor = self.model(x)
            return out.float()

    train(Half(), data=outlier, rate=1e-4)


@origin(kind="input", where="forward", op="", cause="data.nan_or_inf_input")
def missing_value_in_the_data() -> None:
    def missing(step: int) -> tuple[Tensor, Tensor]:
        x, y = torch.rand(ROWS, 5), torch.rand(ROWS, 1)
        if step == BAD_STEP:
            x[ROW, 2] = math.nan
        return x, y

    train(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), data=missing)


@origin(kind="parameter", where="setup", op="embedding", module="table")
def embedding_with_a_bad_row() -> None:
    """Vectors that were read from a file hold one row of NaN; it is met when its token first comes up."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 4), nn.Linear(4, 1)
            self.table.weight.data[17] = math.nan

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.table(x).mean(1))
            return out

    def tokens(step: int) -> tuple[Tensor, Tensor]:
        x = torch.randint(0, 16, (ROWS, 7))
        if step == BAD_STEP:
            x[ROW, 3] = 17
        return x, torch.rand(ROWS, 1)

    train(Bag(), data=tokens)


@origin(kind="activation", where="forward", op="_softmax", module="attention", line="attend")
def attention_with_a_fully_masked_row() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)
            self.embed = nn.Linear(1, 8)

        def forward(self, x: Tensor) -> Tensor:
            padding = x == 0
            h = self.embed(x[..., None])
            h = self.attention(h, h, h, key_padding_mask=padding)[0]  # attend
            out: Tensor = self.head(h.mean(1))
            return out

    train(Attend())


@origin(kind="parameter", where="step", op="Adam", row=None)
def optimizer_without_epsilon() -> None:
    """Adam with eps = 0 divides 0 by 0 for a weight whose gradient has been 0 so far, as with a frozen-out feature."""
    model = nn.Linear(5, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.0, 0.0), eps=0.0)
    for step in range(1, STEPS + 1):
        x, y = torch.rand(ROWS, 5) + 0.5, torch.rand(ROWS, 1)
        if step == BAD_STEP:
            x[:, 2] = 0.0
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


@origin(kind="optimizer_state", where="step", op="RMSprop", row=None)
def squares_that_overflow_in_the_optimizer() -> None:
    """Loss and gradient of one enormous sample are finite, and the gradient's square is not."""
    model = nn.Linear(5, 1)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, centered=True)
    for step in range(1, STEPS + 1):
        x, y = torch.rand(ROWS, 5), torch.rand(ROWS, 1)
        if step == BAD_STEP:
            x[ROW] = 1e12
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


@origin(kind="parameter", where="step", op="SGD", row=None, step=1)
def rate_beyond_all_bounds() -> None:
    train(nn.Linear(5, 1), rate=1e38, data=lambda step: (torch.ones(ROWS, 5) * 1e3, torch.rand(ROWS, 1)))


@origin(kind="gradient", where="backward", op="UndefinedSlopeBackward", module="middle")
def slope_of_an_operation_written_by_hand() -> None:
    """A custom autograd function whose backward divides by its operand."""

    class UndefinedSlope(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, h: Tensor) -> Tensor:
            ctx.save_for_backward(h)
            return h * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            (h,) = ctx.saved_tensors
            return gradient * 2 * (h / h)

    train(net(UndefinedSlope.apply))


@origin(kind="gradient", where="backward", op="SqrtBackward0", module="decoder.middle", step=BAD_STEP)
def second_of_two_models() -> None:
    """What one model makes another takes: the origin lies in the second."""
    encoder, decoder = nn.Linear(5, 5, bias=False), net(lambda h: torch.sqrt(h.square()))
    optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)
    for step in range(1, STEPS + 1):
        x, y = batch(step)
        optimizer.zero_grad()
        F.mse_loss(decoder(encoder(x)), y).backward()
        optimizer.step()


def marked(text: str) -> int:
    """Number of the line of this file that ends with a marker."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {text}"))


def recorded(program: Callable[[], None], runs: Path) -> Run:
    """Record a program; the recorder must not have failed."""
    torch.manual_seed(0)
    with watch(runs=runs, name="nan") as watched:
        program()
    run = watched.run()
    faults = [f.data for f in run.facts("recorder")]
    assert not faults, faults
    return run


@pytest.mark.parametrize(("program", "expected"), PROGRAMS, ids=[p.__name__ for p, _ in PROGRAMS])
def test_the_first_bad_value_is_pinned(program: Callable[[], None], expected: Origin, tmp_path: Path) -> None:
    """Operation, module, kind of tensor, sample, step, direction and line, with the values that entered."""
    run = recorded(program, tmp_path)
    fact = run.fact("nonfinite")

    assert fact is not None
    found = Origin(
        kind=fact.data["kind"],
        where=fact.data["where"],
        op=fact.data.get("op") or "",
        module=fact.data.get("module") or "",
        row=fact.data.get("row"),
        step=fact.step,
        cause=expected.cause,
        line=expected.line,
    )
    assert found == expected
    assert fact.data["values"] or fact.data["settings"], "the values that entered are told"
    if expected.line:
        assert (Path(str(fact.file)).name, fact.line) == (Path(__file__).name, marked(expected.line))


@pytest.mark.parametrize(
    ("program", "expected"), [p for p in PROGRAMS if p[1].cause], ids=[p.__name__ for p, o in PROGRAMS if o.cause]
)
def test_the_cause_follows_from_the_origin(program: Callable[[], None], expected: Origin, tmp_path: Path) -> None:
    """The answer names the cause that belongs to the operation."""
    found = diagnose(recorded(program, tmp_path))

    assert found.hypotheses[0].cause == expected.cause


def test_the_recorder_runs_nothing_again_while_all_is_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calm step costs two looks, not a second forward."""
    calls = []
    monkeypatch.setattr("aitia.engine.capture.observers.nonfinite.find_origin", lambda *a: calls.append("forward"))
    monkeypatch.setattr("aitia.engine.capture.observers.nonfinite.find_gradient", lambda *a: calls.append("backward"))
    recorded(lambda: train(net(torch.tanh)), tmp_path)

    assert calls == []
