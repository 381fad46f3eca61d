"""Experiments on a copy after the training."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from aitia.engine.reason import diagnose


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(x)
        F.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1)).backward()
        optimizer.step()


def probe(recording: Any, name: str) -> dict[str, Any]:
    """The result of one experiment."""
    return next(data for data in recording.data("probe") if data["name"] == name)


def vectors(n: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 6), torch.randint(0, 3, (n,))


@pytest.mark.parametrize("between", [nn.Identity, nn.ReLU])
def test_affine(recording: Any, between: type[nn.Module]) -> None:
    """Two layers without anything between them are one; with ReLU they are not."""
    with recording:
        train(nn.Sequential(nn.Linear(6, 8), between(), nn.Linear(8, 3)), *vectors())

    assert probe(recording, "affine")["affine"] is (between is nn.Identity)
    assert probe(recording, "affine")["n_linear_layers"] == 2


class Mute(nn.Module):
    """Says the same to every input: its weights have drowned what it is told."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.inner, self.bias = between, nn.Parameter(torch.tensor([1e6, -1e6, 2e6]))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.bias


def test_of_a_model_that_ignores_its_input_nothing_is_said(recording: Any) -> None:
    """Whatever is put in comes out the same: that shows neither linearity nor that order does not matter."""
    x, y = vectors()
    model = Mute(nn.Sequential(nn.Linear(x.shape[1], 8), nn.ReLU(), nn.Linear(8, 3)))
    with recording:
        train(model, x, y)

    made = {data["name"] for data in recording.data("probe")}
    assert "two_evals" in made
    assert not made & {"affine", "position", "later_inputs"}


class OverBatch(nn.Module):
    """Normalises over the batch, by mistake or not."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer, self.dim = nn.Linear(6, 3), dim

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * torch.softmax(x, dim=self.dim))


@pytest.mark.parametrize(("dim", "mixing"), [(0, True), (1, False)])
def test_batch_mixing(recording: Any, dim: int, mixing: bool) -> None:
    """A softmax over the batch lets samples see each other."""
    with recording:
        train(OverBatch(dim), *vectors())

    assert probe(recording, "batch_mixing")["mixing"] is mixing


def test_batch_norm_is_no_mixing(recording: Any) -> None:
    """In evaluation mode batch norm keeps samples apart."""
    with recording:
        train(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)), *vectors())

    assert probe(recording, "batch_mixing")["mixing"] is False
    assert probe(recording, "train_eval_gap")["loss_eval"] > 0


class Attention(nn.Module):
    """A one-layer language model; mask and position can be left out."""

    def __init__(self, mask: bool, position: bool) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, 16), nn.Embedding(12, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 20)
        self.mask, self.position = mask, position

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        if self.position:
            x = x + self.places(torch.arange(ids.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1]) if self.mask else None
        x = x + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]
        return self.head(x)


@pytest.mark.parametrize(("mask", "position"), [(True, True), (False, True), (True, False)])
def test_sequences(recording: Any, mask: bool, position: bool) -> None:
    """Without a mask the future leaks; without positions their order is ignored."""
    ids = torch.randint(0, 20, (4, 12))
    with recording:
        train(Attention(mask, position), ids, ids.roll(-1, 1))

    assert probe(recording, "causal")["leak"] is not mask
    assert probe(recording, "causal")["sees_past"] is True
    assert probe(recording, "position")["last_order_ignored"] is not position


class Reader(nn.Module):
    """A recurrent classifier that reads one of its states."""

    def __init__(self, state: int) -> None:
        super().__init__()
        self.rnn, self.head, self.state = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 2), state

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, self.state])


@pytest.mark.parametrize(("state", "late"), [(-1, True), (0, False)])
def test_later_inputs(recording: Any, state: int, late: bool) -> None:
    """A classifier that reads the first state cannot know what comes later."""
    with recording:
        train(Reader(state), torch.randn(8, 10, 3), torch.randint(0, 2, (8,)))

    assert probe(recording, "later_inputs")["late_matters"] is late
    assert probe(recording, "later_inputs")["only_first_position_matters"] is not late


def test_equal_units_and_learning_by_heart(recording: Any) -> None:
    """Constant weights show as symmetric; a healthy copy learns its batch."""
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.constant_(model[0].bias, 0.0)
    nn.init.constant_(model[2].weight, 0.1)
    with recording:
        train(model, *vectors())
    fit = probe(recording, "fit_one_batch")

    assert probe(recording, "unit_symmetry")["symmetric"] == ["0.weight"]
    assert fit["loss_after"] < fit["loss_before"]


def test_dropout_of_its_own(recording: Any) -> None:
    """Dropout that is always on makes two evaluations differ."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(F.dropout(x))

    with recording:
        train(Noisy(), *vectors())

    assert probe(recording, "two_evals")["differ"] is True
    assert "batch_mixing" not in {data["name"] for data in recording.data("probe")}


def test_a_model_of_one_size_is_asked_whole(recording: Any) -> None:
    """A network over a graph takes all its nodes or none; that one node's output depends on others is its purpose."""
    x, y = vectors()

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.links = nn.Linear(6, 3), torch.rand(len(x), len(x)).softmax(1)

        def forward(self, nodes: Tensor) -> Tensor:
            return self.links @ self.layer(F.dropout(nodes))

    with recording:
        train(Graph(), x, y)

    assert probe(recording, "two_evals")["differ"] is True
    assert "batch_mixing" not in {data["name"] for data in recording.data("probe") if "failed" not in data}


def test_experiments_leave_no_trace(recording: Any) -> None:
    """Weights, buffers, mode, random stream: all as if nothing had happened."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    with recording:
        train(model, *vectors())
        state = {k: v.clone() for k, v in model.state_dict().items()}
        stream = torch.get_rng_state()
    after = model.state_dict()

    assert all(torch.equal(state[k], after[k]) for k in state)
    assert torch.equal(stream, torch.get_rng_state())
    assert model.training is True
    assert len(recording.data("probe")) >= 6


def test_model_left_in_evaluation_mode(recording: Any) -> None:
    """A model that trains in evaluation mode is experimented with all the same."""
    with recording:
        train(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval(), *vectors())

    assert probe(recording, "batch_mixing")["mixing"] is False


def test_experiments_keep_to_their_budget(recording: Any) -> None:
    """What does not fit is left out before it begins, and the run says what all of it took."""

    class Slow(nn.Module):
        """A model whose forward takes a tenth of a second."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.1)
            out: Tensor = self.layer(x)
            return out

    model = Slow()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording:
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(8, 4)), torch.arange(8) % 3).backward()
            optimizer.step()
    (told,) = recording.data("probes")
    skipped = [p["name"] for p in recording.data("probe") if p.get("skipped")]

    assert told["budget_s"] == 0.5
    assert "fit_one_batch" in skipped
    assert told["skipped"] == len(skipped)
    assert told["made"] + told["skipped"] == 9
    assert diagnose(recording.run).cost["experiments_s"] == pytest.approx(told["took_s"], abs=1e-3)
