"""Tools that write or execute: listed only when asked for, confined to the project, never without the user's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import ElicitResult
from runs import write_diagnosis, write_run

from aitia.engine.store.reader import Run
from aitia.engine.store.writer import RunWriter
from aitia.tools.server import build_server

pytestmark = pytest.mark.anyio

PROGRAM = """import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model = torch.nn.Linear(4, 3)
for step in range(3):
    loss = torch.nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(3, (8,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with a program and one diagnosed run of it under `.aitia`."""
    (tmp_path / "train.py").write_text(PROGRAM)
    run = write_run(tmp_path / ".aitia", "stale_head", name="run")
    relocate(run, tmp_path)
    (run.path / "source" / "train.py").write_text(PROGRAM)
    write_diagnosis(Run(run.path))
    return tmp_path


def relocate(run: Run, cwd: Path) -> None:
    writer = RunWriter(run.path, run.info)
    writer.update(cwd=str(cwd))
    writer.close()


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and ".aitia" not in p.parts}


async def test_toolsets_are_listed_only_when_asked_for(tmp_path: Path) -> None:
    async with Client(build_server(tmp_path)) as client:
        plain = {t.name for t in (await client.list_tools()).tools}
    async with Client(build_server(tmp_path, ["write", "exec"])) as client:
        tools = {t.name: t.annotations for t in (await client.list_tools()).tools}

    assert set(tools) - plain == {"propose_fix", "write_journal", "prove_fix"}
    assert tools["propose_fix"].read_only_hint
    assert not tools["write_journal"].read_only_hint
    assert tools["prove_fix"].destructive_hint


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_proposal_changes_nothing(project: Path, mode: str) -> None:
    before = files(project)
    async with Client(build_server(project / ".aitia", ["write"]), mode=mode) as client:
        result = await client.call_tool("propose_fix", {})

    assert not result.is_error, result.content[0].text
    assert result.structured_content["cause"] == "optimizer.stale_param_reference"
    assert files(project) == before


async def test_the_journal_and_the_test_are_written_below_the_project(project: Path) -> None:
    async with Client(build_server(project / ".aitia", ["write"])) as client:
        result = await client.call_tool("write_journal", {})

    assert not result.is_error, result.content[0].text
    answer = result.structured_content
    assert {answer["journal"], answer["test"]} <= files(project)
    assert answer["test_status"] == "unproved"
    assert (project / "train.py").read_text() == PROGRAM


async def test_a_run_of_another_place_is_not_written_for(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The folder to write to comes from the user, not from the run."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    relocate(Run(project / ".aitia" / "run"), elsewhere)
    write_diagnosis(Run(project / ".aitia" / "run"))
    async with Client(build_server(project / ".aitia", ["write"])) as client:
        result = await client.call_tool("write_journal", {})

    assert result.is_error
    assert "AITIA_PROJECT" in result.content[0].text
    assert files(elsewhere) == set()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_nothing_runs_when_the_user_declines(project: Path, mode: str) -> None:
    asked: list[str] = []

    async def decline(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="decline")

    before = files(project)
    async with Client(build_server(project / ".aitia", ["exec"]), mode=mode, elicitation_callback=decline) as client:
        result = await client.call_tool("prove_fix", {})

    assert result.is_error
    assert "did not allow" in result.content[0].text
    assert len(asked) == 1
    assert files(project) == before
