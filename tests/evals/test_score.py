"""Scores count what they say they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aitia.evals.report import OURS, build
from aitia.evals.score import (
    Case,
    Reply,
    by_program,
    calibration,
    hit,
    recall,
    risk_coverage,
    same_component,
    stability,
    table,
    with_interval,
)
from aitia.evals.zoo import Truth


def truth(cause: str = "loop.missing_zero_grad", **more: Any) -> Truth:
    """A truth file in one line."""
    fixed = {"phase": "loop", "summary": "x", "sources": ["x"], "outcome": {"crash": "RuntimeError"}}
    if cause == "healthy":
        fixed = {"summary": "x", "outcome": {"pattern": r"(\d)", "repaired": "> 0"}}
    return Truth.model_validate({"cause": cause, **fixed, **more})


def case(reply: Reply, variant: str = "faulty", program: str = "p", seed: int = 0, **more: Any) -> Case:
    """A case with one reply."""
    accused = (10,) if variant == "faulty" else ()
    return Case(program, variant, seed, truth(**more), accused, {OURS: reply})


def says(*causes: str, confidence: float = 0.9, **more: Any) -> Reply:
    """A faulty verdict."""
    ranked = tuple(frozenset({c}) for c in causes)
    return Reply("faulty", ranked, tuple(confidence for _ in causes), **more)


def test_an_equally_right_cause_is_right() -> None:
    """Where two ids name the same fault, either counts."""
    c = case(says("optimizer.lr_too_high"), also_right=["optimizer.lr_too_high"])

    assert hit(c, c.replies[OURS], 1)


def test_a_cause_named_under_the_verdict_unknown_is_no_hit() -> None:
    """Suspicions that the answer itself does not stand behind are not counted."""
    reply = Reply("unknown", (frozenset({"loop.missing_zero_grad"}),), (0.3,))
    c = case(reply)

    assert not hit(c, reply, 3)
    assert recall(c, reply) == 0.0


def test_recall_counts_each_of_two_faults() -> None:
    """One of two named faults is half."""
    both = ["loop.missing_zero_grad", "eval.mode_not_eval"]
    c = case(says("eval.mode_not_eval"), causes=both)

    assert recall(c, c.replies[OURS]) == 0.5
    assert recall(c, says(*both)) == 1.0


def test_on_sound_programs_nothing_is_right() -> None:
    """A repaired twin's truth file still names the fault; naming it there is a false alarm, not a hit."""
    c = case(says("loop.missing_zero_grad"), variant="repaired")

    assert c.right == frozenset()
    assert table([c], OURS)["repaired_false_alarm"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("claimed", "true", "same"),
    [("fc.weight", "fc", True), ("fc", "fc.weight", True), ("fc1", "fc", False), (None, "fc", False)],
)
def test_a_path_within_the_other_names_the_same_component(claimed: str | None, true: str, same: bool) -> None:
    """By whole names, not by letters."""
    assert same_component(claimed, true) is same


def test_shares_are_means_over_programs_not_over_seeds() -> None:
    """A program recorded with many seeds weighs no more than another."""
    right, wrong = says("loop.missing_zero_grad"), says("eval.overfit")
    cases = [case(right, program="a", seed=s) for s in range(9)] + [case(wrong, program="b")]

    assert table(cases, OURS)["top1"]["mean"] == 0.5


def test_every_faulty_program_is_counted_exactly_once() -> None:
    """Right, wrong, unknown and missed add up to all."""
    replies = [says("loop.missing_zero_grad"), says("eval.overfit"), Reply("unknown"), Reply("healthy")]
    cases = [case(r, program=str(i)) for i, r in enumerate(replies)]
    row = table(cases, OURS)

    assert sum(row[k]["mean"] for k in ("top1", "wrong", "unknown", "missed")) == pytest.approx(1.0)


def test_the_interval_holds_the_mean_and_shrinks_with_more_programs() -> None:
    """Against the textbook: the 95 % interval of a share is about 2 standard errors wide on either side."""
    few = with_interval({str(i): float(i % 2) for i in range(16)})
    many = with_interval({str(i): float(i % 2) for i in range(400)})

    assert few["low"] < few["mean"] < few["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(400), rel=0.1)
    assert few == with_interval({str(i): float(i % 2) for i in range(16)})


def test_calibration_is_perfect_when_words_are_kept() -> None:
    """Four of five right at 0.8: no calibration error; the Brier score is the variance that remains."""
    cases = [case(says("loop.missing_zero_grad" if i else "eval.overfit", confidence=0.8), program=str(i))
             for i in range(5)]  # fmt: skip
    found = calibration(cases, OURS)

    assert found["ece"] == pytest.approx(0.0)
    assert found["brier"] == pytest.approx(0.8 * 0.2)


def test_a_false_alarm_counts_against_the_confidence() -> None:
    """A claim about a healthy program is a wrong claim."""
    found = calibration([case(says("eval.overfit", confidence=1.0), variant="healthy", cause="healthy")], OURS)

    assert found["brier"] == pytest.approx(1.0)


def test_risk_rises_with_coverage_when_the_unsure_are_wrong() -> None:
    """The surest answers come first."""
    sure = [case(says("loop.missing_zero_grad", confidence=0.9), program=f"a{i}") for i in range(3)]
    unsure = [case(says("eval.overfit", confidence=0.5), program="b")]
    points = risk_coverage(sure + unsure, OURS)

    assert [p["risk"] for p in points] == [0.0, 0.0, 0.0, 0.25]


def test_stability_compares_seeds() -> None:
    """Another first answer for another seed is unstable; one seed says nothing."""
    a = [case(says("loop.missing_zero_grad"), seed=s) for s in range(2)]
    b = [case(says("eval.overfit"), program="b"), case(says("loop.missing_zero_grad"), program="b", seed=1)]

    assert stability(a + b, OURS) == {"n": 2, "share": 0.5}
    assert stability(b[:1], OURS)["share"] is None


def test_only_cases_where_a_metric_applies_are_averaged() -> None:
    """The line is asked about only where the cause was right."""
    cases = [case(says("loop.missing_zero_grad", lines=(10,))), case(says("eval.overfit", lines=(3,)), program="b")]

    assert table(cases, OURS)["line"] == {"n": 1, "mean": 1.0, "low": 1.0, "high": 1.0}
    assert by_program(cases, OURS, lambda c, r: None) == {}


def test_the_report_names_every_miss_and_every_false_alarm() -> None:
    """What went wrong must be findable."""
    cases = [
        case(says("loop.missing_zero_grad"), program="good"),
        case(says("eval.overfit", "loop.missing_zero_grad"), program="second"),
        case(says("eval.overfit"), variant="healthy", program="calm", cause="healthy"),
        case(Reply("unknown", error="KeyError: 'x'"), program="broken"),
    ]
    meta = {"split": "dev", "seeds": 1, "versions": {"aitia": "0", "torch": "0"}, "notes": []}
    report = build(cases, meta | {"faulty": 3, "healthy": 1, "repaired": 0})

    assert "good" not in report.misses
    assert "second/faulty-0: loop.missing_zero_grad → eval.overfit 0.90, right one at 2" in report.misses
    assert "calm/healthy-0: healthy → eval.overfit" in report.misses
    assert "broken/faulty-0: error: KeyError" in report.misses
    assert "| aitia | 33% " in report.markdown
