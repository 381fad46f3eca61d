"""What grows, and who keeps it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import nn


def train(how: str, steps: int = 60) -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history: list[Any] = []
    total: Any = 0.0
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(torch.randn(8, 4)), torch.randn(8, 1))
        loss.backward()
        optimizer.step()
        if how == "list":
            history.append(loss)
        elif how == "numbers":
            history.append(loss.item())
        elif how == "sum":
            total = total + loss
        elif how == "hooks":
            model.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(("how", "graphs", "tensors"), [("list", 40, 40), ("sum", 40, 0), ("numbers", 0, 0)])
def test_graphs_kept_by_a_history(recording: Any, how: str, graphs: int, tensors: int) -> None:
    """Losses kept with their graphs are counted, in a list as in a running sum; plain numbers are not."""
    with recording:
        train(how)
    last = recording.data("memory")[-1]

    assert last["live_graphs"] == pytest.approx(graphs, abs=1)
    assert last["tensors_alive"] == pytest.approx(tensors, abs=1)
    assert (len(recording.data("memory")) > 1) is (graphs > 0)


def test_hooks_that_pile_up(recording: Any) -> None:
    """A hook registered at every step shows as one per step."""
    with recording:
        train("hooks")

    assert recording.data("hooks")[-1]["per_step"] == 1.0


def test_resident_memory_and_sizes(recording: Any) -> None:
    """Resident memory stands in the rows, activations and parameters in the closing fact."""
    with recording:
        train("numbers", steps=5)
    last = recording.data("memory")[-1]

    assert recording.rows[0]["rss_bytes"] > 1e7
    assert last["parameter_bytes"] == 20
    assert 8 * 4 <= last["activation_bytes"] <= 8 * 4 * 4
