"""What the graph below a loss tells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn


def backward_of(make: Any, steps: int = 1) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        make(model, torch.randn(8, 4), torch.randint(0, 3, (8,))).backward()
        optimizer.step()
    return model


def test_reached_and_not_reached(recording: Any) -> None:
    """Parameters behind a detach are not reached."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).detach())

    with recording:
        F.cross_entropy(Cut()(torch.randn(8, 4)), torch.randint(0, 3, (8,))).backward()
    graph = recording.data("graph")[0]

    assert sorted(graph["reached"]) == ["last.bias", "last.weight"]
    assert sorted(graph["not_reached_trainable"]) == ["first.bias", "first.weight"]
    assert graph["patterns"]["n_matmul"] == 1


@pytest.mark.parametrize(
    ("loss", "pattern"),
    [
        (lambda m, x, y: F.cross_entropy(torch.softmax(m(x), 1), y), "softmax_before_log_softmax"),
        (lambda m, x, y: F.nll_loss(torch.softmax(m(x), 1), y), "softmax_before_nll"),
        (
            lambda m, x, y: F.binary_cross_entropy_with_logits(torch.sigmoid(m(x)).view(-1), torch.rand(24)),
            "sigmoid_before_bce_logits",
        ),
    ],
)
def test_activation_before_the_loss(recording: Any, loss: Any, pattern: str) -> None:
    """An activation that the loss applies again is a pattern of its own, views in between or not."""
    with recording:
        backward_of(loss)
    patterns = recording.data("graph")[0]["patterns"]

    assert [name for name, value in patterns.items() if value is True] == [pattern]


def test_terms_and_their_factors(recording: Any) -> None:
    """A sum of losses falls into its terms, each with its weight and sign."""

    def loss(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = m(x)
        return (2 * F.cross_entropy(out, y) - 0.5 * F.mse_loss(out, torch.zeros(8, 3)) + 1000.0) / 4

    with recording:
        backward_of(loss)
    terms = {(t["site"], t["op"] == "constant"): t["factor"] for t in recording.data("graph")[0]["terms"]}

    assert terms == {(0, False): 0.5, (1, False): -0.125, (-1, True): 0.25}


def test_new_phase_is_walked(recording: Any) -> None:
    """Freezing a layer in the middle of the training shows in a new graph fact."""

    def phases() -> None:
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(25):
            if step == 20:
                model[0].requires_grad_(False)
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 3, (8,))).backward()
            optimizer.step()

    with recording:
        phases()
    facts = recording.run.facts("graph")

    assert [(f.step, f.data["n_reached"]) for f in facts] == [(1, 4), (21, 2)]


def test_loss_by_hand_that_broadcasts(recording: Any) -> None:
    """(N, 1) against (N) in a loss written by hand is told with its line."""
    with recording:
        backward_of(lambda m, x, y: ((m(x)[:, :1] - y.float()) ** 2).mean())
    ops = recording.data("loss_code")[0]["ops"]

    assert [(op["op"], op["inputs"], op["output"]) for op in ops if op["expanding"]] == [("sub", [[8, 1], [8]], [8, 8])]
    assert recording.run.fact("loss_code").file == "tests/observers/test_graph.py"
