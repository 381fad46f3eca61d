"""Types that the MCP tests share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from mcp import Client

Connect = Callable[..., AbstractAsyncContextManager[Client]]
"""Opens a client of one protocol era."""
