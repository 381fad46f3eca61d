"""State that leaves or enters a model."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn


def steps(model: nn.Module, n: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(n):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("copied", [False, True])
def test_best_state_that_is_no_copy(recording: Any, copied: bool) -> None:
    """A state dict that is kept without copying shares the live weights; a copy does not show at all."""
    model = nn.Linear(4, 2)
    with recording:
        steps(model, 2)
        best = copy.deepcopy(model.state_dict()) if copied else model.state_dict()
        steps(model, 45)
        model.load_state_dict(best)
    kept, loaded = recording.data("state_dict"), recording.data("load_state_dict")[0]

    assert [d["aliased"] for d in kept] == ([] if copied else [True])
    assert loaded["aliased"] is not copied
    assert (loaded["matched"], loaded["n_model"]) == (2, 2)


def test_keys_that_do_not_match(recording: Any) -> None:
    """With strict=False nothing may match, and it is told."""
    model = nn.Linear(4, 2)
    with recording:
        steps(model, 1)
        model.load_state_dict({f"module.{k}": v for k, v in model.state_dict().items()}, strict=False)
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict({})
    first, second = recording.data("load_state_dict")

    assert (first["matched"], first["n_missing"], first["strict"]) == (0, 2, False)
    assert (second["raised"], second["missing"]) == ("RuntimeError", ["bias", "weight"])


def test_loaded_weights_that_are_overwritten(recording: Any) -> None:
    """Weights drawn anew after loading are named when the model is first used."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with recording:
        model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
        nn.init.normal_(model[1].weight)
        model(torch.randn(3, 4))

    assert recording.data("loaded_weights")[0]["changed"] == ["1.weight"]


def test_what_is_saved(recording: Any) -> None:
    """A checkpoint is compared with the live weights."""
    model = nn.Linear(4, 2)

    def save(state: dict[str, Tensor]) -> None:
        torch.save({"model": state}, io.BytesIO())

    with recording:
        steps(model, 1)
        save(model.state_dict())
        save({k: v.clone() for k, v in model.state_dict().items()})
        save({k: v + 1 for k, v in model.state_dict().items()})

    assert [d["equals_live"] for d in recording.data("save")] == [True, True, False]
