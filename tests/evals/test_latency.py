"""A recording that is cut off shows what was known then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aitia.engine.store.reader import Run, open_run
from aitia.evals.latency import Prefix, first_right
from aitia.evals.score import Case, Reply
from aitia.evals.zoo import Truth


def path_of(root: Path, story: str) -> Path:
    """Directory of a synthetic run of 60 steps."""
    return open_run(story, root).path


@pytest.mark.parametrize("limit", [1, 7, 59])
def test_nothing_of_later_steps_is_visible(synthetic: Path, limit: int) -> None:
    """Neither rows nor facts nor the end."""
    cut = Prefix(path_of(synthetic, "crash"), limit)

    assert cut.n_steps == limit
    assert cut.wide("param").steps.max() == limit
    assert all(f.step <= limit for f in cut.facts())
    assert cut.info.status == "running"
    assert cut.info.failure is None


def test_uncut_it_is_the_run(synthetic: Path) -> None:
    """The whole prefix equals the run."""
    path = path_of(synthetic, "crash")
    whole, run = Prefix(path, 60), Run(path)

    assert whole.info == run.info
    assert whole.facts() == run.facts()
    assert np.array_equal(whole.table("step")["loss"], run.table("step")["loss"], equal_nan=True)
    assert whole.log_tail() == run.log_tail()


def case() -> Case:
    """A program whose fault is a missing zero_grad."""
    fixed: dict[str, Any] = {"phase": "loop", "summary": "x", "sources": ["x"], "outcome": {"crash": "Error"}}
    truth = Truth.model_validate({"cause": "loop.missing_zero_grad", **fixed})
    return Case("p", "faulty", 0, truth, ())


@pytest.mark.parametrize(("known_after", "first"), [(1, 1), (5, 8), (33, 60), (61, None)])
def test_the_first_right_cut_is_found(synthetic: Path, known_after: int, first: int | None) -> None:
    """Against an answerer that knows after a given number of steps."""

    def answer(run: Run) -> Reply:
        right = run.n_steps >= known_after
        return Reply("faulty", (frozenset({"loop.missing_zero_grad"}),)) if right else Reply("healthy")

    assert first_right(path_of(synthetic, "healthy"), case(), answer) == first
