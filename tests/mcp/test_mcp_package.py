"""What registries, bundles and readers are told agrees with what the server is."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from mcp import Client

from aitia.tools.server import build_server

TOOLS = files("aitia.tools")
PROJECT = Path(__file__).parents[2]


@pytest.mark.anyio
async def test_every_tool_and_prompt_is_described_where_people_look(tmp_path: Path) -> None:
    async with Client(build_server(tmp_path, ["write", "exec"])) as client:
        tools = [t.name for t in (await client.list_tools()).tools]
        prompts = [p.name for p in (await client.list_prompts()).prompts]
    page = (TOOLS / "README.md").read_text("utf-8")
    bundled = [t["name"] for t in json.loads((TOOLS / "manifest.json").read_text("utf-8"))["tools"]]

    assert [n for n in (*tools, *prompts) if f"`{n}`" not in page] == []
    assert bundled == tools[: len(bundled)]
    assert len(tools) - len(bundled) == 3  # the opt-in tools are not promised


def test_versions_and_names_agree() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    server = json.loads((TOOLS / "server.json").read_text("utf-8"))
    manifest = json.loads((TOOLS / "manifest.json").read_text("utf-8"))

    assert {server["version"], server["packages"][0]["version"], manifest["version"]} == {version}
    assert f"<!-- mcp-name: {server['name']} -->" in (TOOLS / "README.md").read_text("utf-8")
