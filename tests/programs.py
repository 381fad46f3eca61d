"""Runs of small programs written by hand: the source, the accused lines, and what the recorder would have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aitia.engine.records import CausalHypothesis, Failure, OptimizerInfo, RunInfo, RunStatus, SourceLocation
from aitia.engine.store.reader import Run
from aitia.engine.store.writer import RunWriter


def run_of(
    folder: Path,
    source: str,
    *,
    optimizers: dict[str, int] | None = None,
    groups: dict[str, float] | None = None,
    facts: tuple[tuple[str, int, dict[str, Any], int | None], ...] = (),
    failure: Failure | None = None,
    name: str = "20260101-000000-train",
) -> Run:
    """A run directory with a snapshot of `train.py` and a few facts; `optimizers` are names and lines."""
    path = folder / name
    path.mkdir(parents=True)
    status = RunStatus.CRASHED if failure is not None else RunStatus.FINISHED
    writer = RunWriter(path, RunInfo(
        id=name, command=("train.py",), script="train.py", created=1_767_225_600.0, status=status, failure=failure,
    ))  # fmt: skip
    for index, (variable, line) in enumerate((optimizers or {}).items()):
        info = OptimizerInfo(index=index, name=variable, cls="SGD", groups=(groups or {},), file="train.py", line=line)
        writer.subject("optimizer", index, info)
    for kind, step, data, at in facts:
        writer.fact(kind, step, 0.0, data=data, file="train.py" if at else None, line=at)
    writer.source("train.py", source.encode())
    writer.close()
    return Run(path)


def accuse(cause: str, *lines: int, component: str | None = None) -> CausalHypothesis:
    """A hypothesis about lines of `train.py`."""
    where = SourceLocation(file="train.py", lines=lines) if lines else None
    return CausalHypothesis(
        id="H1", cause=cause, confidence=0.9, phase="loop", component=component, location=where, explanation="Because."
    )
