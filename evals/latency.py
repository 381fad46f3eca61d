"""How soon an answer is right: the same recording, cut off after ever more steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from aitia.engine.records import Fact, RunInfo, RunStatus
from aitia.engine.store.reader import Array, Run, Wide
from aitia.evals.score import Case, Reply, hit


class Prefix(Run):
    """A run as it stood when `limit` optimizer steps were done: later rows and facts are not there yet."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path)
        self._limit = limit
        self._open = limit < Run(path).n_steps

    @cached_property
    def info(self) -> RunInfo:
        """The run's circumstances; cut short of its end it is still running and has not failed."""
        info = Run(self.path).info
        if not self._open:
            return info
        return info.model_copy(
            update={"status": RunStatus.RUNNING, "failure": None, "ended": None, "exit_code": None}
        )  # fmt: skip

    def table(self, name: str) -> dict[str, Array]:
        """Rows of the steps that are done; those of the step in progress are cut, too."""
        table = super().table(name)
        if not self._open:
            return table
        keep = table["step"] <= self._limit
        return {column: values[keep] for column, values in table.items()}

    def wide(self, name: str) -> Wide:
        """The same for wide tables."""
        wide = super().wide(name)
        if not self._open:
            return wide
        keep = wide.steps <= self._limit
        return Wide(wide.steps[keep], {stat: matrix[keep] for stat, matrix in wide.values.items()})

    @cached_property
    def _facts(self) -> list[Fact]:
        facts = Run(self.path).facts()
        return [f for f in facts if f.step <= self._limit] if self._open else facts

    def log_tail(self, limit: int = 0) -> str:
        """Nothing: the log does not say which step a line belongs to."""
        return "" if self._open else super().log_tail()


def first_right(path: Path, case: Case, answer: Callable[[Run], Reply]) -> int | None:
    """The smallest power of two (or the whole run) after which the first cause is right, and stays so; else None."""
    total = Run(path).n_steps
    cuts = [*(2**k for k in range(int(np.log2(total)) + 1) if 2**k < total), total] if total else [0]
    first = None
    for cut in reversed(cuts):
        if not hit(case, answer(Prefix(path, cut)), 1):
            break
        first = cut
    return first
