"""Baselines say what their rules say."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitia.engine.store.reader import Run, open_run
from aitia.evals.baselines import DYING, EXPLODING, FLAT, NOT_A_NUMBER, always_lr, autotrainer, loss_only


@pytest.fixture
def runs(synthetic: Path) -> dict[str, Run]:
    """Synthetic runs by story."""
    return {name: open_run(name, synthetic) for name in ("healthy", "stale_head", "nan", "saturated")}


def test_the_folk_answer_never_changes(runs: dict[str, Run]) -> None:
    """It accuses the healthy run too."""
    assert {always_lr(run).first for run in runs.values()} == {"optimizer.lr_too_high"}


def test_the_loss_curve_tells_nan_and_flat_and_nothing_else(runs: dict[str, Run]) -> None:
    """A falling loss is healthy."""
    assert loss_only(runs["nan"]).ranked == (NOT_A_NUMBER,)
    assert loss_only(runs["stale_head"]).ranked == (FLAT,)
    assert loss_only(runs["healthy"]).verdict == "healthy"


def test_autotrainer_calls_nan_an_explosion_and_leaves_a_good_run_alone(runs: dict[str, Run]) -> None:
    """As its published decision does."""
    assert autotrainer(runs["nan"]).ranked == (EXPLODING,)
    assert autotrainer(runs["healthy"]).verdict == "healthy"


def test_a_word_that_stands_for_several_causes_is_never_empty() -> None:
    """An empty set could never be right."""
    assert all((DYING, EXPLODING, FLAT, NOT_A_NUMBER))
