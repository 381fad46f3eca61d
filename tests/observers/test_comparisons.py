"""What the program compares with `==` in evaluation, and that comparing stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn


def comparisons(recording: Any) -> list[dict[str, Any]]:
    """The facts' data, in the order of their places in the program."""
    return [fact.data for fact in recording.run.facts("comparison")]


def test_hits_are_counted_per_evaluation(recording: Any) -> None:
    """Agreement is that of the program's own comparison, and known to be of the model's answer."""
    model, x, y = nn.Linear(6, 4), torch.randn(40, 6), torch.randint(0, 4, (40,))
    with recording, torch.no_grad():
        expected = float((model(x).argmax(1) == y).sum())
    (found,) = comparisons(recording)

    assert found["agreed"] == [expected]
    assert found["n"] == [40.0]
    assert found["matched"] == found["calls"] == 1
    assert found["crossed"] == found["single"] == 0


@pytest.mark.parametrize(("shape", "crossed"), [((12, 1), 1), ((12,), 0)])
def test_every_prediction_with_every_label_is_told(recording: Any, shape: tuple[int, ...], crossed: int) -> None:
    """A column against a row compares all pairs."""
    model, x, y = nn.Linear(3, 1), torch.randn(12, 3), torch.randint(0, 2, shape).float()
    with recording, torch.no_grad():
        assert ((model(x) > 0).float().squeeze(1) == y).shape == ((12, 12) if crossed else (12,))

    assert [c["crossed"] for c in comparisons(recording)] == [crossed]


def test_the_argmax_of_one_output_is_told(recording: Any) -> None:
    """It is 0 whatever the model says."""
    model, x, y = nn.Linear(3, 1), torch.randn(12, 3), torch.randint(0, 2, (12,))
    with recording, torch.no_grad():
        _ = model(x).argmax(1) == y

    assert [c["single"] for c in comparisons(recording)] == [1]


def test_training_and_labels_among_each_other_are_left_alone(recording: Any) -> None:
    """Only evaluation is looked at, and no matrix of which labels are equal."""
    model, x, y = nn.Linear(3, 4), torch.randn(12, 3), torch.randint(0, 4, (12,))
    with recording:
        _ = model(x).argmax(1) == y
        with torch.no_grad():
            model(x)
            _ = y[:, None] == y[None, :]

    assert comparisons(recording) == []


def test_comparing_stays_what_it_was(recording: Any) -> None:
    """Results, errors, hashes and what other types answer are the same, and nothing of ours is left behind."""
    x = torch.arange(4)
    with recording, torch.no_grad():
        nn.Linear(1, 1)(torch.ones(1, 1))
        assert (x == torch.tensor([0, 5, 2, 5])).tolist() == [True, False, True, False]
        assert (x == 2).tolist() == torch.eq(x, 2).tolist() == x.eq(2).tolist() == [False, False, True, False]
        assert (x == "other") is False
        assert hash(x) == id(x)
        with pytest.raises(RuntimeError, match="size of tensor"):
            _ = x == torch.arange(3)

    assert "__eq__" not in vars(torch.Tensor)
    assert "eq" not in vars(torch.Tensor)


def test_a_compiled_comparison_is_not_looked_into(recording: Any) -> None:
    """A compiler traces `==` as it would without us: one graph."""
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    traced = CompileCounter()

    @torch.compile(backend=traced)
    def hits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a == b).sum() + a.eq(b).sum() + torch.eq(a, b).sum()

    with recording, torch.no_grad():
        nn.Linear(1, 1)(torch.ones(1, 1))
        assert int(hits(torch.arange(4), torch.arange(4))) == 12

    assert traced.frame_count == 1
