"""Questions over several runs can be answered through the tools alone, at a bounded price."""

from __future__ import annotations

from typing import Any

import pytest
from eras import Connect
from questions import QUESTIONS, Question, tokens

MAX_CALLS = 15
"""A question that needs a look at each of the runs takes one call per run, the pages of the list, and one more."""
MAX_TOKENS = 12_000


@pytest.mark.anyio
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.answer.__name__)
async def test_a_question_has_one_answer(connect: Connect, question: Question) -> None:
    spent: list[int] = []
    async with connect() as client:

        async def ask(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content[0].text
            spent.append(tokens(result.structured_content))
            return result.structured_content

        answer = await question.answer(ask)

    assert answer == question.expected
    assert len(spent) <= MAX_CALLS
    assert sum(spent) < MAX_TOKENS
