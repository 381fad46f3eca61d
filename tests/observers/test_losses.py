"""What the loss observer tells of real training loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from aitia.engine.capture.observers import loss_stats


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: Any, steps: int = 5) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values


def test_rows_hold_what_a_slow_computation_gives(recording: Any) -> None:
    """Every loss call has a row whose numbers equal those computed the obvious way."""
    model, x, y = nn.Linear(6, 4), torch.randn(32, 6), torch.randint(0, 4, (32,))
    out = model(x).detach()
    with recording:
        values = train(model, x, y, nn.CrossEntropyLoss())
    table = recording.run.table("loss")

    assert table["value"] == pytest.approx(values)
    assert table["in_mean"][0] == pytest.approx(out.mean().item(), abs=1e-6)
    assert table["in_sample_std"][0] == pytest.approx(out.std(0, correction=0).mean().item(), rel=1e-5)
    assert table["accuracy"][0] == pytest.approx((out.argmax(1) == y).float().mean().item())
    assert table["majority_share"][0] == pytest.approx(np.bincount(out.argmax(1)).max() / 32)
    assert table["target_majority"][0] == pytest.approx(np.bincount(y).max() / 32)
    assert list(table["grad"]) == [1.0] * 5
    assert recording.run.losses[0].function == "cross_entropy"
    assert recording.run.losses[0].file == "tests/observers/test_losses.py"


def test_site_of_a_scaled_sum_is_found(recording: Any) -> None:
    """A backward root made from a loss by arithmetic is traced back to the loss call."""
    with recording:
        model = nn.Linear(3, 1)
        first = F.mse_loss(model(torch.randn(4, 3)), torch.randn(4, 1))
        second = F.l1_loss(model(torch.randn(4, 3)), torch.randn(4, 1))
        sites = [recording.recorder.site_of(root) for root in (first / 4 + 0.1, second * 2, model.weight.sum())]

    assert sites == [0, 1, -1]


def test_ignored_targets_do_not_count(recording: Any) -> None:
    """Targets equal to ignore_index lower valid_share and nothing else."""
    with recording, torch.no_grad():
        target = torch.tensor([1, -100, 2, -100])
        F.cross_entropy(torch.eye(3)[[1, 0, 2, 0]], target)
    table = recording.run.table("loss")

    assert (table["valid_share"][0], table["accuracy"][0], table["target_min"][0]) == (0.5, 1.0, 1.0)
    assert table["grad"][0] == 0.0


def test_double_softmax_shows_in_the_call(recording: Any) -> None:
    """Probabilities that enter cross_entropy are noted."""
    with recording:
        model = nn.Sequential(nn.Linear(6, 4), nn.Softmax(1))
        train(model, torch.randn(8, 6), torch.randint(0, 4, (8,)), F.cross_entropy)
    fact = recording.run.fact("loss_call")

    assert fact.data["input_is_prob"] is True
    assert fact.data["input_by"] == "SoftmaxBackward0"
    assert recording.run.table("loss")["in_rowsum"][0] == pytest.approx(0, abs=1e-5)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_broadcasting_target_is_noted(recording: Any) -> None:
    """(N, 1) against (N) is a broadcast."""
    with recording:
        train(nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8), F.mse_loss)

    assert recording.run.fact("loss_call").data["broadcast"] is True


def test_refused_call_keeps_shapes_and_raises(recording: Any) -> None:
    """A loss that raises raises the same error, and what it was given is kept."""
    with recording, pytest.raises(IndexError):
        F.cross_entropy(torch.randn(4, 3), torch.tensor([0, 1, 2, 3]))
    fact = recording.run.fact("loss_call")

    assert (fact.data["raised"], fact.data["n_classes"], fact.data["target_highest"]) == ("IndexError", 3, 3)


@pytest.mark.parametrize(("shift", "best"), [(1, 1), (2, 2), (0, 0)])
def test_offset_between_tokens_and_targets(recording: Any, shift: int, best: int) -> None:
    """The alignment fact names the offset at which targets repeat the input."""
    ids = torch.randint(0, 50, (4, 12 + shift))
    x, y = ids[:, :12], ids[:, shift:]
    with recording:
        model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50))
        train(model, x, y, lambda out, t: F.cross_entropy(out.reshape(-1, 50), t.reshape(-1)), steps=1)
    fact = recording.run.fact("alignment")

    assert fact.data["best"] == best
    assert fact.data["match_by_offset"][str(best)] == 1.0


class Reader(nn.Module):
    """Reads a source, what was said so far, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(50, 8), nn.Linear(8, 50)

    def forward(self, source: Tensor, said: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.out(self.table(source) + self.table(said) * mask[..., None])
        return out


@pytest.mark.parametrize(("shift", "best", "place"), [(1, 1, 1), (0, 0, 1)])
def test_targets_may_be_made_from_a_further_input(recording: Any, shift: int, best: int, place: int) -> None:
    """Of a decoder it is what was said so far; a mask equals targets by chance and does not count."""
    source, ids = torch.randint(2, 50, (4, 12)), torch.randint(2, 50, (4, 12 + shift))
    ids[ids < 34] = 1  # the class that fills the mask
    y, model = ids[:, shift:], Reader()
    with recording:
        for _ in range(2):
            out = model(source, ids[:, :12] if best == 1 else y, torch.ones(4, 12, dtype=torch.int64))
            F.cross_entropy(out.reshape(-1, 50), y.reshape(-1)).backward()
    fact = recording.run.fact("alignment")

    assert (fact.data["best"], fact.data["input"]) == (best, place)


def test_losses_bit_for_bit_and_random_stream_untouched(recording: Any) -> None:
    """Watching changes neither the losses nor the random numbers drawn."""

    def program() -> tuple[list[float], float]:
        torch.manual_seed(3)
        values = train(nn.Linear(6, 4), torch.randn(32, 6), torch.randint(0, 4, (32,)), F.cross_entropy, steps=20)
        return values, torch.rand(1).item()

    plain = program()
    with recording:
        watched = program()

    assert watched == plain
    assert F.cross_entropy.__module__ == "torch.nn.functional"
    assert not hasattr(F.cross_entropy, "__wrapped__")


def test_confusions_show_how_training_ended(recording: Any) -> None:
    """The table of confusions has targets as rows and predictions as columns."""
    with recording, torch.no_grad():
        F.cross_entropy(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]))
    table = recording.run.fact("confusion").data["table"]

    assert table == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_and_traced_programs_still_compile(recording: Any) -> None:
    """TorchScript sees the functions of torch, not our wrappers; a traced graph holds nothing of ours."""

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(self.layer(x), y)

    model, x, y = Scored(), torch.randn(8, 6), torch.randint(0, 4, (8,))
    expected = model(x, y).item()
    with recording:
        scripted = torch.jit.script(model)
        traced = torch.jit.trace(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), x)
        values = scripted(x, y).item(), model(x, y).item()

    assert values == (expected, expected)
    assert traced.graph_for(x) is not None
    assert len(recording.run.table("loss")["value"]) == 1


@pytest.mark.parametrize(
    ("function", "prediction", "target"),
    [
        ("cross_entropy", torch.randn(32, 10), torch.randint(0, 10, (32,))),
        ("cross_entropy", torch.randn(8, 5, 4), torch.randint(0, 5, (8, 4))),
        ("mse_loss", torch.randn(32, 3) * 1e-3 + 5, torch.randn(32, 3)),
        ("l1_loss", torch.randn(7), torch.randn(7)),
    ],
)
def test_the_short_way_tells_what_the_long_one_does(
    function: str, prediction: Tensor, target: Tensor, monkeypatch
) -> None:
    """Statistics of a loss call by the kernel equal those by torch's operations."""
    rows = loss_stats.rows_of(function, prediction, target, -100)
    quick = loss_stats.measure(rows, function)
    monkeypatch.setattr(loss_stats, "_on_host", lambda rows: None)

    torch.testing.assert_close(quick, loss_stats.measure(rows, function), equal_nan=True, rtol=1e-5, atol=1e-6)
