"""What is told of loaders and samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def epochs(loader: Any, n: int, model: nn.Module | None = None) -> None:
    net = model or nn.Linear(loader.dataset.tensors[0].shape[1], 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(n):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()


def data(n: int = 40) -> TensorDataset:
    return TensorDataset(torch.randn(n, 5), torch.randint(0, 10, (n,)))


@pytest.mark.parametrize("shuffle", [True, False])
def test_order_of_epochs(recording: Any, shuffle: bool) -> None:
    """A loader that shuffles has a new order each epoch, one that does not repeats it."""
    with recording:
        epochs(DataLoader(data(), batch_size=4, shuffle=shuffle), 3)
    loader, told = recording.run.fact("loader"), recording.run.facts("epoch")

    assert loader.data["shuffle"] is shuffle
    assert (loader.data["n_batches"], loader.data["n_samples"], loader.data["training"]) == (10, 40, True)
    assert [f.data["same_as_previous"] for f in told] == [False, not shuffle, not shuffle]
    assert [f.data["n_taken"] for f in told] == [10, 10, 10]


def test_waiting_for_data_is_timed_and_lettered(recording: Any) -> None:
    """Each batch counts towards the step it feeds."""
    with recording:
        epochs(DataLoader(data(), batch_size=8), 1)

    assert len(recording.rows) == 5
    assert all(row["data_s"] > 0 for row in recording.rows)
    assert recording.data("signature")[0]["signature"] == "D Z0 F0 L0 B S0"


def test_one_batch_again_and_again(recording: Any) -> None:
    """`next(iter(loader))` shows as epochs of one batch."""
    loader = DataLoader(data(), batch_size=4)
    with recording:
        for _ in range(3):
            next(iter(loader))
    told = recording.run.facts("epoch")

    assert [f.data["n_taken"] for f in told] == [1, 1, 1]
    assert told[-1].data["same_as_previous"] is True


def test_workers_keep_the_order_visible(recording: Any) -> None:
    """With worker processes the order of samples is still told."""
    with recording:
        epochs(DataLoader(data(), batch_size=10, num_workers=1), 2)

    assert [f.data["same_as_previous"] for f in recording.run.facts("epoch")] == [False, True]


@pytest.mark.parametrize(("mixed", "low", "high"), [(False, 0.9, 1.0), (True, 0.0, 0.2)])
def test_neighbours_tell_permuted_labels(recording: Any, mixed: bool, low: float, high: float) -> None:
    """On digits nearest neighbours agree; with permuted labels they agree by chance."""
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    if mixed:
        y = y[torch.randperm(len(y))]
    with recording:
        epochs(DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True), 1)
    fact = recording.run.fact("sample_neighbours")

    assert low <= fact.data["agreement"] <= high
    assert fact.data["chance"] == pytest.approx(0.1, abs=0.01)
    assert (recording.path / "samples" / "inputs.npy").is_file()
