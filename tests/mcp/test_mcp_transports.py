"""The server as clients start it: one process on stdio, one on HTTP behind its token."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from aitia.tools.http import ServeError, is_loopback, serve
from aitia.tools.server import build_server

STDIO = "from pathlib import Path; from aitia.tools.server import serve_stdio; serve_stdio(Path({root!r}))"
HTTP = "from pathlib import Path; from aitia.tools.server import serve_http; serve_http(Path({root!r}), port=0)"
RUN = "20260101-000000-crash"


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_stdio_answers_in_both_eras(synthetic: Path, mode: str) -> None:
    code = STDIO.format(root=str(synthetic))
    server = StdioServerParameters(command=sys.executable, args=["-c", code], env=dict(os.environ))
    with anyio.fail_after(60):
        async with Client(server, mode=mode) as client:
            result = await client.call_tool("diagnose_error", {"run": RUN})

    assert result.structured_content["exception"] == "RuntimeError"


@pytest.fixture(scope="module")
def served(synthetic: Path) -> Iterator[tuple[str, str]]:
    """(address, token) of a server process on a free port."""
    code = HTTP.format(root=str(synthetic))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first, second = process.stderr.readline(), process.stderr.readline()
        address, token = re.search(r"http://\S+", first), re.search(r"Bearer (\S+)", second)
        assert address is not None, first
        assert token is not None
        yield address[0], token[1]
    finally:
        process.terminate()
        process.wait(20)
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_http_answers_in_both_eras(served: tuple[str, str], mode: str) -> None:
    address, token = served
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as web:
        with anyio.fail_after(60):
            async with Client(streamable_http_client(address, http_client=web), mode=mode) as client:
                result = await client.call_tool("diagnose_error", {"run": RUN})

    assert result.structured_content["exception"] == "RuntimeError"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
async def test_http_lets_in_only_its_own(served: tuple[str, str], headers: dict[str, str], status: int) -> None:
    """Another page, another host name, or no token: refused."""
    address, token = served
    first = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    good = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient() as web:
        answer = await web.post(address, json=first, headers={**good, **headers})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.5", False),
        ("example", False),
    ],
)
def test_only_this_machine_is_served(tmp_path: Path, host: str, own: bool) -> None:
    assert is_loopback(host) is own
    if not own:
        with pytest.raises(ServeError, match="other machines"):
            serve(build_server(tmp_path), host, 0)
