"""Every tool over a run that was really recorded: a program nobody prepared, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client
from test_mcp_tools import TOOLS

from aitia.tools.server import build_server

PROGRAM = """import torch

torch.manual_seed(0)
x, y = torch.randn(256, 12), torch.randint(4, (256,))
model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model[2] = torch.nn.Linear(16, 4)
for epoch in range(5):
    for i in range(0, 256, 32):
        loss = torch.nn.functional.cross_entropy(model(x[i : i + 32]), y[i : i + 32])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", float(loss))
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run root of a project in which one program was recorded."""
    project = tmp_path_factory.mktemp("project")
    (project / "train.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "aitia", "run", "train.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, timeout=240)
    return project / ".aitia"


@pytest.mark.anyio
async def test_every_tool_answers_a_real_run(recorded: Path) -> None:
    answers = {}
    async with Client(build_server(recorded)) as client:
        name = (await client.call_tool("list_runs", {})).structured_content["runs"][0]["run"]
        for tool in TOOLS:
            arguments = {"list_runs": {}, "compare_runs": {"run": name, "other": name}}.get(tool, {"run": name})
            result = await client.call_tool(tool, arguments)

            assert not result.is_error, (tool, result.content[0].text)
            assert len(json.dumps(result.structured_content)) <= 10_000
            answers[tool] = result.structured_content

    best = answers["diagnose"]["hypotheses"][0]
    assert (best["cause"], best["file"], best["lines"]) == ("optimizer.stale_param_reference", "train.py", [6])
    assert answers["debug_gradients"]["parameters"][0]["health"] == "not_in_optimizer"
    assert answers["explain_cause"]["events"]
    assert answers["profile_performance"]["slowest_phase"]
    assert "epoch 4" in answers["diagnose_error"]["untrusted_log_tail"]
