"""The same program with the same seed gives the same answer."""

from __future__ import annotations

from pathlib import Path

import pytest

import aitia.evals.run as room
from aitia.evals.again import compared, sentences
from aitia.evals.score import Reply

PROGRAM = "tumour_logistic"
"""It turns ill in the middle of training."""


def test_two_recordings_of_one_program_are_answered_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CACHE", tmp_path)
    report = room.evaluate([PROGRAM], split="dev", out=tmp_path / "out", quiet=True, again=True)

    assert report.data["again"] == {"n": 2, "same": 2, "differ": []}
    assert len(list((tmp_path / "again").rglob("recording.json"))) == 2
    assert "the same answer in 2 of 2" in report.markdown


def test_answers_that_differ_are_told() -> None:
    right = Reply("faulty", (frozenset({"loss.missing_log"}),), (0.9,), (7,), "head")
    elsewhere = Reply("faulty", (frozenset({"loss.missing_log"}),), (0.8,), (9,), "head")
    found = compared([("a/faulty", right, right), ("b/faulty", right, elsewhere)])

    assert (found["n"], found["same"]) == (2, 1)
    assert sentences(found)[1] == (
        "- b/faulty: faulty (loss.missing_log) at head, line 7; then faulty (loss.missing_log) at head, line 9"
    )
