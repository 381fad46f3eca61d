"""A recording of a piece of training, read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aitia.engine.capture.recorder import Recorder
from aitia.engine.capture.session import Session
from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run


class Recording:
    """Records what happens inside `with`; `run` reads it back."""

    def __init__(self, root: Path) -> None:
        self.session = Session(root, "test", (), None, "normal")
        self.recorder = Recorder(self.session)

    def __enter__(self) -> Recording:
        self.recorder.install()
        return self

    def __exit__(self, *exc: object) -> None:
        self.recorder.finish()
        self.recorder.uninstall()
        self.session.close(RunStatus.FINISHED, 0)

    @property
    def path(self) -> Path:
        return self.session.path

    @property
    def run(self) -> Run:
        return Run(self.path)

    @property
    def rows(self) -> list[dict[str, float]]:
        """The step table by rows."""
        table = self.run.table("step")
        return [{name: column[i] for name, column in table.items()} for i in range(len(table["step"]))]

    def data(self, kind: str) -> list[dict[str, Any]]:
        """What the facts of a kind hold."""
        return [fact.data for fact in self.run.facts(kind)]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    """Use as `with recording: train()`; a fault of the recorder's own fails the test."""
    torch.manual_seed(0)
    made = Recording(tmp_path)
    yield made
    made.__exit__()
    assert made.data("recorder") == []
