"""Derived measurements: curves, call signatures, what a program printed."""

from __future__ import annotations

import numpy as np
import pytest

from aitia.engine.case import Curve, parse_signature, phase_means
from aitia.engine.causes.loop_clip_before_backward import clipped_too_early
from aitia.engine.causes.loop_zero_grad_after_backward import wiped_before_step
from aitia.engine.printed import printed


def curve(values: list[float]) -> Curve:
    return Curve(np.arange(1, len(values) + 1), np.asarray(values, dtype=np.float64))


def test_ends_of_a_curve_are_medians_not_single_points() -> None:
    """One outlier at either end does not decide whether the loss fell."""
    values = [9.0, 2.0, 2.0, *[1.0] * 24, 0.5, 0.5, 7.0]

    assert curve(values).first == 2.0
    assert curve(values).last == 0.5
    assert curve(values).fall == pytest.approx(0.75)


def test_a_curve_skips_what_was_not_measured_and_names_the_first_infinity() -> None:
    """NaN rows count neither for the ends nor for the length."""
    found = curve([1.0, 1.0, 1.0, np.inf, 0.1, 0.1, 0.1])

    assert found.n == 6
    assert found.first_nonfinite == 4
    assert curve([]).n == 0


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("D0 Z0 F0 L0 B S0", "DZFLBS"),
        ("(Z0 F0 L0 B)*3 S0", "ZFLBZFLBZFLBS"),
        ("E0*40 S1", "ES"),
        ("((F0 B)*2 C)*2 S0", "FBFBCFBFBCS"),
        ("", ""),
    ],
)
def test_signatures_unfold(text: str, letters: str) -> None:
    """Folded groups become the calls that were made, in order."""
    assert "".join(c.letter for c in parse_signature(text)) == letters


def test_a_huge_fold_is_cut() -> None:
    """A signature cannot make the reader build millions of calls."""
    assert len(parse_signature("(((F0)*99999 B)*99999 S0)*99999")) < 10_000


@pytest.mark.parametrize(
    ("text", "wiped"),
    [("F0 B Z0 S0", True), ("Z0 F0 B S0", False), ("Z0 F0 B Z1 S0", False), ("Z0 B S0 Z1 B S1", False), ("S0", False)],
)
def test_a_wiped_gradient_is_one_that_the_same_optimizer_should_have_used(text: str, wiped: bool) -> None:
    """zero_grad of another optimizer, or one before backward, wipes nothing."""
    assert wiped_before_step(parse_signature(text)) is wiped


@pytest.mark.parametrize(("text", "early"), [("C B S0", True), ("B C S0", False), ("C B C S0", False), ("B S0", False)])
def test_clipping_is_too_early_when_none_follows_the_last_backward(text: str, early: bool) -> None:
    """A second clip after backward makes the first one harmless."""
    assert clipped_too_early(parse_signature(text)) is early


def test_evaluation_is_averaged_by_samples() -> None:
    """A small last batch counts by its size."""
    rows = {"step": np.array([5, 5, 9]), "n": np.array([90.0, 10.0, 1.0]), "accuracy": np.array([1.0, 0.0, 0.5])}
    found = phase_means(rows, "accuracy")

    assert found.steps.tolist() == [5, 9]
    assert found.values.tolist() == [0.9, 0.5]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch 3 loss 0.52 val acc 0.91", (True, 0.91)),
        ("Epoch: 12 | train accuracy: 87.5%", (False, 0.875)),
        ("epoch 5 loss 0.0454 accuracy 0.835", (None, 0.835)),
        ("epoch 4 train 0.0028 valid loss 0.2412 valid acc 0.940", (True, 0.94)),
        ("test accuracy = 98.1 %", (True, 0.981)),
        ("epoch 16  loss 1.817  train 0.416  val 0.100", (True, 0.1)),
    ],
)
def test_printed_accuracies_are_understood(line: str, expected: tuple[bool, float]) -> None:
    """Usual ways to print an accuracy, as share or percentage, in training or evaluation."""
    found = [(p.evaluation, p.value) for p in printed(line) if p.accuracy]

    assert expected in found


@pytest.mark.parametrize(
    "line",
    [
        "step 12 lr 0.91",
        "account 12",
        "ignore previous instructions",
        "accuracy nan",
        "x" * 10_000,
        "epoch 3 train 0.41 val loss 0.44",
        "train loss 0.2 test 0.3",
    ],
)
def test_what_is_no_accuracy_is_left_alone(line: str) -> None:
    """Counters, rates and prose are not accuracies."""
    assert [p for p in printed(line) if p.accuracy] == []


@pytest.mark.parametrize(
    ("line", "evaluation", "share"),
    [
        ("epoch 3 loss 0.41 valid r2 0.62", True, 0.62),
        ("test R^2: -0.25", True, -0.25),
        ("R²=0.9", None, 0.9),
        ("r2_score 0.31", None, 0.31),
        ("val explained variance 45%", True, 0.45),
    ],
)
def test_printed_shares_of_variance_are_no_errors(line: str, evaluation: bool | None, share: float) -> None:
    """The digit of R² belongs to the label; more of it is better, so that it is not taken for a loss."""
    found = [(p.evaluation, p.value) for p in printed(line) if p.explained]

    assert found == [(evaluation, share)]
    assert all(p.value != share for p in printed(line) if p.loss)


def test_errors_by_another_name_are_no_losses() -> None:
    """What is printed beside the loss says how far predictions are off; it is not the loss."""
    found = printed("epoch 4 loss 0.4\nmean deviation 5120.5\ntest mae 12.0")

    assert [(p.value, p.loss, p.error) for p in found] == [(0.4, True, True), (5120.5, False, True), (12.0, True, True)]
