"""Fixtures of the MCP tests: both protocol eras against one server over synthetic runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from eras import Connect
from mcp import Client

from aitia.tools.server import build_server


@pytest.fixture(params=["auto", "legacy"])
def connect(request: pytest.FixtureRequest, synthetic: Path) -> Connect:
    """Opens a client of one era to a server over the synthetic runs."""
    return lambda **options: Client(build_server(synthetic), mode=request.param, **options)


@pytest.fixture
def anyio_backend() -> str:
    """Tests run on asyncio alone, as the server does."""
    return "asyncio"
