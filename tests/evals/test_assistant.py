"""Ten questions over programs that were really recorded, answered through the tools of the MCP server alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitia.evals.assistant import MAX_REPLY, answers, prepare
from aitia.evals.questions import QUESTIONS


@pytest.mark.anyio
async def test_ten_questions_are_answered_through_the_tools(tmp_path: Path) -> None:
    root = prepare(tmp_path / "runs", tmp_path / "cache")
    found = await answers(root)

    assert len(QUESTIONS) == 10
    assert {a.question.text: a.said for a in found} == {q.text: q.expected for q in QUESTIONS}
    assert sum(len(a.sizes) > 1 for a in found) >= 9
    assert max(size for a in found for size in a.sizes) <= MAX_REPLY
