"""The notebook magics record a cell and answer about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aitia
from aitia.engine.store.reader import list_runs, open_run


class Shell:
    """As much of an IPython shell as the magics touch."""

    def __init__(self) -> None:
        self.user_ns: dict[str, Any] = {}
        self.magics: dict[str, Callable[..., None]] = {}

    def register_magic_function(self, function: Callable[..., None], kind: str, name: str) -> None:
        """Keep a magic by its name."""
        self.magics[name] = function

    def run_cell(self, cell: str) -> SimpleNamespace:
        """Run code; like IPython, report an exception instead of raising it."""
        try:
            exec(compile(cell, "<cell>", "exec"), self.user_ns)
        except Exception as error:  # noqa: BLE001 - a cell may raise anything
            return SimpleNamespace(success=False, error_in_exec=error, error_before_exec=None)
        return SimpleNamespace(success=True, error_in_exec=None, error_before_exec=None)


TRAIN = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell with the extension loaded and a model in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AITIA_RUNS", raising=False)
    made = Shell()
    aitia.load_ipython_extension(made)
    made.run_cell("import torch\nmodel = torch.nn.Linear(3, 2)")
    return made


def test_a_watched_cell_is_recorded_and_can_be_asked_about(
    shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps of the cell are steps of the run."""
    shell.magics["watch"]("model", TRAIN)
    shell.magics["why"]("")

    assert open_run(None, tmp_path / ".aitia").n_steps == 5
    assert "5 steps" in capsys.readouterr().out


def test_a_cell_that_fails_leaves_a_crashed_run_and_no_second_traceback(shell: Shell, tmp_path: Path) -> None:
    """The notebook has shown the exception; the recording keeps it."""
    shell.magics["watch"]("", TRAIN + "raise ValueError('enough')\n")
    failure = open_run(None, tmp_path / ".aitia").info.failure

    assert failure is not None
    assert failure.message == "enough"


def test_a_wrong_name_is_one_line(shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither magic raises for a typing mistake, and nothing is recorded."""
    shell.magics["watch"]("modle", TRAIN)
    shell.magics["why"]("nope")
    lines = capsys.readouterr().out.splitlines()

    assert [line.startswith("aitia: ") for line in lines] == [True, True]
    assert list_runs(tmp_path / ".aitia") == []
