"""The evaluation from end to end, on one program."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aitia.evals import run as runner
from aitia.evals.labelled import labelled
from aitia.evals.report import OURS

PROGRAM = "digits_store_stream"


@pytest.mark.slow
def test_a_program_is_recorded_asked_scored_and_not_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any `concurrent.futures` executor records; the second evaluation finds everything in the cache."""
    monkeypatch.setattr(runner, "CACHE", tmp_path / "cache")
    with ThreadPoolExecutor(1) as executor:
        first = runner.evaluate([PROGRAM], out=tmp_path / "out", executor=executor)
        assert "2 to make" in capsys.readouterr().err
        second = runner.evaluate([PROGRAM], out=tmp_path / "out", executor=executor)
    assert "2 kept, 0 to make" in capsys.readouterr().err

    written = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert {(c["program"], c["variant"]) for c in written["cases"]} == {(PROGRAM, "faulty"), (PROGRAM, "repaired")}
    assert all(c["error"] is None for c in written["cases"])
    assert set(first.data["answerers"]) > {OURS}
    assert first.data["cases"] == second.data["cases"]

    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "That is what was measured [E1]."}
    answer = json.dumps({"verdicts": [verdict], "reply": "See there [E1].", "measurements_wanted": []})
    (tmp_path / "talk.jsonl").write_text((json.dumps({"response": answer}) + "\n") * 4, encoding="utf-8")
    model = f"replay/{tmp_path / 'talk.jsonl'}"
    third = runner.evaluate([PROGRAM], out=tmp_path / "out", model=model)
    assert f"{OURS} + {model}" in third.data["answerers"]
    assert third.data["model"]["asked"] >= third.data["model"]["used"] >= 1
    assert "## With a language model" in third.markdown

    capsys.readouterr()
    cases = {c.name: c for c in labelled([PROGRAM])}
    assert "2 kept, 0 to make" in capsys.readouterr().err
    assert f"{PROGRAM}/faulty" in cases, "the true cause is among the hypotheses, so a model can be asked about it"
    for name, case in cases.items():
        assert bool(case.right) == name.endswith("/faulty")
        assert case.diagnosis.hypotheses
