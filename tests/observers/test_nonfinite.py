"""The first value that is not a number is traced to what made it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

HERE = "tests/observers/test_nonfinite.py"


def line_of(text: str) -> int:
    """Number of the first line of this file that ends with a marker."""
    with open(__file__) as lines:
        return next(n for n, line in enumerate(lines, 1) if line.rstrip().endswith(f"# {text}"))


class Net(nn.Module):
    """A layer, then something that goes wrong when the input says so."""

    def __init__(self, wrong: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.3)
        self.wrong = wrong
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.wrong(self.first(x), x)))


def train(wrong: Callable[[Tensor, Tensor], Tensor], loss: Any = None, bad_step: int = 5, steps: int = 8) -> Net:
    model = Net(wrong)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        x, y = torch.rand(6, 3) + 0.5, torch.rand(6, 1)
        if step == bad_step:
            x[2] = 0.0
        optimizer.zero_grad()
        value = (loss or squared)(model(x), y, x)
        value.backward()
        optimizer.step()
    return model


def squared(out: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return ((out - y) ** 2).mean()


def keep(h: Tensor, x: Tensor) -> Tensor:
    return h


def log_of_input(h: Tensor, x: Tensor) -> Tensor:
    return h * torch.log(x.sum(1, keepdim=True))  # forward log


def sqrt_of_zero(h: Tensor, x: Tensor) -> Tensor:
    scaled = h * x.sum(1, keepdim=True)
    return torch.sqrt(scaled * scaled)  # forward sqrt


def masked_sqrt(h: Tensor, x: Tensor) -> Tensor:
    scaled = (h * x.sum(1, keepdim=True)) ** 2
    return torch.where(scaled > 0, torch.sqrt(scaled), torch.zeros_like(scaled))  # masked sqrt


def log_loss(out: Tensor, y: Tensor, x: Tensor) -> Tensor:
    p = torch.sigmoid(out) * (x.sum(1, keepdim=True) > 0)
    return -(y * torch.log(p)).mean()  # loss log


def divided_loss(out: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return (squared(out, y, x) + out.abs() / (out.abs() * x.sum(1, keepdim=True))).mean()  # loss division


def test_operation_inside_the_forward(recording: Any) -> None:
    """log(0) in the model: the operation, its line, the sample."""
    with recording:
        train(log_of_input)
    fact = recording.run.fact("nonfinite")

    assert (fact.step, fact.file, fact.line) == (5, HERE, line_of("forward log"))
    assert (fact.data["kind"], fact.data["op"], fact.data["row"]) == ("activation", "log", 2)
    assert fact.data["inputs_finite"] is True


@pytest.mark.parametrize(
    ("wrong", "marker", "masked"), [(sqrt_of_zero, "forward sqrt", False), (masked_sqrt, "masked sqrt", True)]
)
def test_operation_with_infinite_slope(recording: Any, wrong: Any, marker: str, masked: bool) -> None:
    """A finite loss with a gradient that is not: the operation that was at its singular place."""
    with recording:
        train(wrong)
    fact = recording.run.fact("nonfinite")

    assert (fact.step, fact.file, fact.line) == (5, HERE, line_of(marker))
    assert (fact.data["kind"], fact.data["op"], fact.data["masked"]) == ("gradient", "SqrtBackward0", masked)
    assert fact.data["row"] == 2


@pytest.mark.parametrize(
    ("loss", "op", "marker"), [(log_loss, "LogBackward0", "loss log"), (divided_loss, "DivBackward0", "loss division")]
)
def test_operation_in_a_loss_written_by_hand(recording: Any, loss: Any, op: str, marker: str) -> None:
    """The model's output is finite and the loss is not."""
    with recording:
        train(keep, loss)
    fact = recording.run.fact("nonfinite")

    assert (fact.step, fact.file, fact.line) == (5, HERE, line_of(marker))
    assert (fact.data["kind"], fact.data["where"], fact.data["op"], fact.data["row"]) == ("loss", "loss", op, 2)


def test_batch_that_is_not_finite(recording: Any) -> None:
    """A NaN in the batch is the batch's."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with recording:
        for step in range(4):
            x = torch.rand(6, 3)
            if step == 2:
                x[4, 1] = math.nan
            optimizer.zero_grad()
            model(x).mean().backward()
            optimizer.step()
    fact = recording.run.fact("nonfinite")

    assert (fact.step, fact.data["kind"], fact.data["row"]) == (3, "input", 4)


def test_weights_that_an_update_broke(recording: Any) -> None:
    """Finite gradients, infinite weights: the step did it."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e38)
    with recording:
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.ones(6, 3)) * 100).mean().backward()
            optimizer.step()
    fact = recording.run.fact("nonfinite")

    assert (fact.data["kind"], fact.data["where"]) == ("parameter", "step")
    assert fact.data["gradient_was_finite"] is True


def test_target_that_is_not_finite(recording: Any) -> None:
    """A NaN among the targets is told apart from a NaN among the inputs."""
    model = nn.Linear(3, 1)
    with recording:
        y = torch.rand(6, 1)
        y[3] = math.nan
        nn.MSELoss()(model(torch.rand(6, 3)), y).backward()

    assert recording.data("nonfinite")[0]["kind"] == "target"
    assert recording.data("nonfinite")[0]["row"] == 3


def test_masks_of_infinity_are_no_fault(recording: Any) -> None:
    """Attention masks are full of -inf on purpose."""
    with recording:
        train(lambda h, x: h * torch.softmax(h.masked_fill(h < h.amax(1, keepdim=True), -math.inf), 1), bad_step=0)

    assert recording.data("nonfinite") == []


def test_looking_for_the_origin_changes_nothing(recording: Any) -> None:
    """Weights and random stream after a NaN are those of an unwatched run."""

    def program() -> tuple[list[float], float]:
        torch.manual_seed(1)
        model = train(log_of_input, bad_step=4)
        return [p.nan_to_num().sum().item() for p in model.parameters()], torch.rand(1).item()

    plain = program()
    with recording:
        watched = program()

    assert watched == plain


def test_complex_models_are_recorded_without_a_word(recording: Any) -> None:
    """No cast of a complex number that torch would warn of."""
    model = nn.Linear(3, 3, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording, warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(2, 3, dtype=torch.complex64)).abs().sum().backward()
            optimizer.step()

    assert recording.data("recorder") == []


def test_function_transforms_are_left_alone(recording: Any) -> None:
    """Tensors inside of grad and vmap are wrappers that can be neither kept nor hooked."""
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, p, (x,)).sum()

    with recording:
        for _ in range(2):
            torch.func.grad(loss)(weights, torch.randn(3, 4))
            torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, torch.randn(5, 3, 4))
            torch.func.jacrev(model)(torch.randn(3, 4))
            optimizer.zero_grad()
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()

    assert recording.data("recorder") == []
