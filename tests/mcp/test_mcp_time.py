"""A call that takes too long, or that nobody waits for any more, ends."""

from __future__ import annotations

import threading
import time

import anyio
import pytest
from mcp import Client
from mcp.server import MCPServer

from aitia.tools.listing import RunList
from aitia.tools.strict import strict

pytestmark = pytest.mark.anyio


def server(release: threading.Event, seconds: float) -> MCPServer[object]:
    """A server whose only tool waits until it is released."""

    def wait() -> RunList:
        """Call it to wait."""
        release.wait(20)
        return RunList(summary="released")

    return MCPServer("slow", tools=[strict(wait, title="Wait", seconds=seconds)], log_level="ERROR")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_beyond_its_time_is_answered_with_an_error(mode: str) -> None:
    release = threading.Event()
    async with Client(server(release, 0.2), mode=mode) as client:
        result = await client.call_tool("wait", {})
    release.set()

    assert result.is_error
    assert "no answer within" in result.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancelled_call_does_not_hold_the_server(mode: str) -> None:
    release = threading.Event()
    started = time.monotonic()
    async with Client(server(release, 30.0), mode=mode) as client:
        with anyio.move_on_after(0.2) as scope:
            await client.call_tool("wait", {})
        again = await client.list_tools()
    release.set()

    assert scope.cancelled_caught
    assert [t.name for t in again.tools] == ["wait"]
    assert time.monotonic() - started < 15
