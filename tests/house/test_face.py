"""What users see of the package: its names, its weight, its version."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aitia

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "dspy", "litellm", "sklearn", "pandas", "matplotlib")


def test_all_is_what_is_visible() -> None:
    """`__all__` and the names without an underscore are the same, so that nothing is public by accident."""
    visible = {name for name, value in vars(aitia).items() if not name.startswith("_") and not inspect.ismodule(value)}

    assert visible <= set(aitia.__all__)
    assert sorted(aitia.__all__) == dir(aitia)


@pytest.mark.parametrize("name", sorted(aitia.__all__))
def test_every_public_name_can_be_fetched(name: str) -> None:
    """The lazy table has no dead entry."""
    assert getattr(aitia, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Laziness must not turn a typing mistake into something else."""
    with pytest.raises(AttributeError, match="no attribute 'wacht'"):
        _ = aitia.wacht


def test_version_is_the_same_everywhere() -> None:
    """The version in the code is the version of the distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert aitia.__version__ == project["version"]


def loaded_by(code: str, cwd: Path) -> list[str]:
    """Which of the heavy libraries a fresh process holds after `code`."""
    tail = f"\nimport json, sys\nsys.stderr.write(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stderr.splitlines()[-1]))


def command(*args: str) -> str:
    """Code that runs one command of the command line in-process."""
    return (
        "import sys\n"
        f"sys.argv = ['aitia', *{list(args)!r}]\n"
        "from aitia.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code in (None, 0), stop.code\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import aitia", id="import aitia"),
        pytest.param("import aitia.cli", id="aitia.cli"),
        pytest.param("import aitia.tools.server", id="mcp"),
        pytest.param(command("runs"), id="runs"),
        pytest.param(command("why", "stale_head"), id="why"),
        pytest.param(command("why", "stale_head", "--json"), id="why --json"),
        pytest.param(command("why", "stale_head", "--words", "is my lr too high?"), id="why --words"),
        pytest.param("import aitia.agent.incident, aitia.agent.model_debugging", id="the agent"),
        pytest.param(command("show", "stale_head", "layers"), id="show"),
        pytest.param(command("causes"), id="causes"),
        pytest.param(command("doctor"), id="doctor"),
    ],
)
def test_asking_loads_neither_torch_nor_dspy(code: str, synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer must not wait for libraries that only training and language models need."""
    monkeypatch.setenv("AITIA_RUNS", str(synthetic))

    assert loaded_by(code, synthetic) == []


def test_importing_has_no_visible_effect(tmp_path: Path) -> None:
    """No print, no folder, no logging set-up."""
    code = "import logging as l; n = list(l.getLogger().handlers); import aitia; assert l.getLogger().handlers == n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
