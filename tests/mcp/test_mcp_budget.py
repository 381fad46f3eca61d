"""What the server costs: tokens of its tool list and instructions, and modules at start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

from aitia.tools.server import build_server

MAX_TOKENS = 6_000
"""Of all schemas together; Sentry's server spends about 590 per tool."""
MAX_TOOL_TOKENS = 800
MAX_INSTRUCTIONS = 2_000
"""Characters; an older Claude Code cuts at 2,048."""
HEAVY = ("torch", "dspy", "litellm", "matplotlib", "sklearn", "libcst", "pandas")


def tokens(text: str) -> int:
    """An estimate that errs upwards: words count one token per five letters begun, every sign that is no letter one."""
    return sum((len(word) + 4) // 5 for word in re.findall(r"\w+", text)) + len(re.findall(r"[^\w\s]", text))


@pytest.mark.anyio
async def test_tool_schemas_stay_within_the_budget(tmp_path: Path) -> None:
    async with Client(build_server(tmp_path)) as client:
        tools = (await client.list_tools()).tools
    cost = {t.name: tokens(json.dumps(t.model_dump(mode="json", by_alias=True, exclude_none=True))) for t in tools}
    shown = {
        t.name: tokens(f"{t.name} {t.description} {json.dumps(t.input_schema, separators=(',', ':'))}") for t in tools
    }

    assert sum(shown.values()) < MAX_TOKENS, shown
    assert max(shown.values()) < MAX_TOOL_TOKENS
    assert sum(cost.values()) < 2 * MAX_TOKENS, cost


def test_instructions_are_short(tmp_path: Path) -> None:
    instructions = build_server(tmp_path).instructions

    assert instructions is not None
    assert len(instructions) < MAX_INSTRUCTIONS


def test_starting_the_server_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from aitia.tools.server import build_server; "
        f"build_server(Path({str(tmp_path)!r})); print(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout.split() == []
