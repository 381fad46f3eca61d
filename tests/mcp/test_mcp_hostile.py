"""What a watched program says never becomes what the server says, and nothing outside the run root is read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from eras import Connect
from mcp import Client, MCPError
from runs import HOSTILE, write_diagnosis, write_run
from test_mcp_tools import TOOLS

from aitia.tools.server import AUDIT_FILE, build_server

pytestmark = pytest.mark.anyio


def trusted_strings(value: Any, key: str = "") -> Iterator[str]:
    """All strings of a reply that do not stand in an `untrusted_*` field."""
    if key.startswith("untrusted_"):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from trusted_strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from trusted_strings(item)


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_text_of_the_program_reaches_a_trusted_field(tmp_path: Path, text: str) -> None:
    """Names, messages, warnings, and an engine that repeats them in every sentence."""
    run = write_run(tmp_path, "hostile")
    write_diagnosis(run, text=text if text != HOSTILE[3] else HOSTILE[0])
    write_run(tmp_path, "healthy")
    name = run.id
    async with Client(build_server(tmp_path)) as client:
        for tool in TOOLS:
            arguments = {"list_runs": {}, "compare_runs": {"run": name, "other": "20260101-000000-healthy"}}
            result = await client.call_tool(tool, arguments.get(tool, {"run": name}))

            assert not result.is_error, (tool, result.content[0].text)
            found = list(trusted_strings(result.structured_content or {"text": result.content[0].text}))
            for shown in found:
                assert not any(raw in shown for raw in HOSTILE[:3]), (tool, shown)
                assert "IGNORE ALL" not in shown
                assert all(c.isprintable() or c == "\n" for c in shown), (tool, shown)


async def test_long_and_dirty_logs_are_shown_clean_and_short(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("diagnose_error", {"run": "20260101-000000-hostile"})

    tail = result.structured_content["untrusted_log_tail"]
    assert len(tail) < 2_000
    assert all(c.isprintable() or c in "\n\t" for c in tail)


async def test_errors_do_not_repeat_what_was_sent(connect: Connect) -> None:
    async with connect() as client:
        for tool, arguments in (
            ("diagnose", {"run": HOSTILE[1]}), ("analyze_layers", {"layer": HOSTILE[0]}),
            ("explain_cause", {"run": "20260101-000000-stale_head", "hypothesis": HOSTILE[0]}),
            ("diagnose", {HOSTILE[3]: 1}),
        ):  # fmt: skip
            result = await client.call_tool(tool, arguments)

            assert result.is_error
            assert HOSTILE[0] not in result.content[0].text
            assert HOSTILE[1] not in result.content[0].text
            assert "\x1b" not in result.content[0].text


async def test_links_are_not_followed(tmp_path: Path) -> None:
    """A linked run directory is not listed; a run with a linked file is refused; a linked source file is not read."""
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read me")
    root = tmp_path / "runs"
    root.mkdir()
    outside = write_run(tmp_path, "healthy", name="outside")
    os.symlink(outside.path, root / "linked")
    bad = write_run(root, "healthy", name="linked-log")
    (bad.path / "log.txt").unlink()
    os.symlink(secret, bad.path / "log.txt")
    sly = write_run(root, "healthy", name="linked-source")
    os.symlink(secret, sly.path / "source" / "secret.txt")
    async with Client(build_server(root)) as client:
        listed = (await client.call_tool("list_runs", {})).structured_content
        refused = await client.call_tool("diagnose_error", {"run": "linked-log"})
        with pytest.raises(MCPError):
            await client.read_resource("run://linked-source/source/secret.txt")
        with pytest.raises(MCPError):
            await client.read_resource("run://linked-log/log.txt")

    assert {r["run"] for r in listed["runs"]} == {"linked-log", "linked-source"}
    assert refused.is_error
    assert "symbolic links" in refused.content[0].text


async def test_damaged_runs_are_answered_not_crashed_on(tmp_path: Path) -> None:
    write_run(tmp_path, "healthy", name="fine")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "run.db").write_bytes(b"")
    torn = write_run(tmp_path, "healthy", name="torn")
    (torn.path / "run.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 200)
    newer = write_run(tmp_path, "healthy", name="newer")
    with sqlite3.connect(newer.path / "run.db") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    cut = write_run(tmp_path, "healthy", name="cut")
    for file in (cut.path / "series").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    async with Client(build_server(tmp_path)) as client:
        listed = (await client.call_tool("list_runs", {})).structured_content
        for name in ("empty", "torn", "newer"):
            result = await client.call_tool("analyze_layers", {"run": name})

            assert result.is_error
            assert "list_runs" in result.content[0].text
        half = await client.call_tool("analyze_layers", {"run": "cut"})

    assert {r["run"]: r["status"] for r in listed["runs"]}["fine"] == "finished"
    assert not half.is_error


async def test_calls_at_the_same_time_get_their_own_answers(connect: Connect) -> None:
    """Twenty calls on several runs at once: nothing hangs, nothing is mixed up."""
    wanted = ["healthy", "stale_head", "nan", "saturated"] * 5
    answers: dict[int, str] = {}

    async def ask(client: Client, number: int, story: str) -> None:
        result = await client.call_tool("debug_gradients", {"run": f"20260101-000000-{story}"})
        answers[number] = result.structured_content["run"]

    with anyio.fail_after(60):
        async with connect() as client, anyio.create_task_group() as group:
            for number, story in enumerate(wanted):
                group.start_soon(ask, client, number, story)

    assert answers == {i: f"20260101-000000-{s}" for i, s in enumerate(wanted)}


async def test_every_call_leaves_one_line(tmp_path: Path) -> None:
    write_run(tmp_path, "healthy")
    async with Client(build_server(tmp_path)) as client:
        await client.call_tool("list_runs", {"limit": 3})
        await client.call_tool("diagnose", {"run": f"nope {HOSTILE[3]}"})

    lines = [json.loads(line) for line in (tmp_path / AUDIT_FILE).read_text().splitlines()]
    assert [(x["tool"], x["outcome"]) for x in lines] == [("list_runs", "ok"), ("diagnose", "error")]
    assert lines[0]["arguments"] == {"limit": "3"}
    assert "\x1b" not in lines[1]["arguments"]["run"]
