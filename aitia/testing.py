"""For the user's own tests: run a training program for a few steps under the recorder, and look at what was measured.

```python
from aitia.testing import largest_update, record

def test_the_head_is_trained() -> None:
    run = record("train.py", steps=20)
    assert largest_update(run, "fc.weight") > 0
```
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aitia.engine.store.reader import Run, list_runs

__all__ = ["RecordingError", "causes", "finite", "largest_update", "record", "update_ratios"]

STEPS = 30
"""Enough for an optimizer to show what it does, few enough for a test."""
TIMEOUT_S = 120.0
TAIL = 1500
"""Characters of the program's output that an error shows."""


class RecordingError(AssertionError):
    """The program left no recording: it could not be started, or did not end in time."""


def record(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    steps: int | None = STEPS,
    timeout: float = TIMEOUT_S,
    cwd: str | os.PathLike[str] | None = None,
) -> Run:
    """Run `script` in its own process under the recorder; stop it after `steps` optimizer steps (None: at its end).

    The program runs in `cwd` (default: the script's folder); a module is given as `record("-m", ["package.train"])`. It
    may fail: then `run.info.status` says so. Raises `RecordingError` when there is nothing to look at.
    """
    from aitia.engine.replay.made import MADE

    if steps in MADE:  # a proof has run this very program already
        return Run(MADE[steps])
    module = script == "-m"
    path = Path(args[0] if module else script).resolve()
    if not module and not path.is_file():
        raise RecordingError(f"there is no script {path}")
    folder = Path(cwd).resolve() if cwd is not None else path.parent
    runs = Path(tempfile.mkdtemp(prefix="aitia-test-"))
    program = ["-m", *args] if module else [str(path), *args]
    command = [sys.executable, "-m", "aitia.testing", str(-1 if steps is None else steps), str(runs), *program]
    with tempfile.TemporaryFile() as output:  # a pipe would stay open as long as any child of the program lives
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RecordingError(f"{path.name} did not end within {timeout:g} s") from None
        finally:
            _end(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        said = output.read().decode("utf-8", "replace")
    found = list_runs(runs)
    if not found:
        raise RecordingError(f"{path.name} left no recording (exit code {code}):\n{said}")
    return Run(found[0])


def finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The measured values of a series: NaN stands for what was not measured, and is left out."""
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def largest_update(run: Run, parameter: str, since: int = 1) -> float:
    """The largest update norm of a parameter from step `since` on; 0 where it never moved or never was stepped."""
    steps, values = run.of_parameter(parameter, "update_norm")
    return float(finite(values[steps >= since]).max(initial=0.0))


def update_ratios(run: Run) -> npt.NDArray[np.float64]:
    """Per step, the largest ratio of update norm to weight norm over all weight matrices; 1e-4 to 1e-2 is usual."""
    wide, columns = run.wide("param"), [p.index for p in run.parameters if len(p.shape) > 1 and p.in_model]
    update, weight = wide.values["update_norm"][:, columns], wide.values["weight_norm"][:, columns]
    with np.errstate(all="ignore"):
        ratios = np.where(weight > 0, update / weight, np.nan).astype(np.float64)
    largest = np.where(np.isnan(ratios), -np.inf, ratios).max(axis=1, initial=-np.inf)
    return np.asarray(largest, dtype=np.float64)


def causes(run: Run, *, suspected: str | None = None) -> set[str]:
    """The causes that aitia accuses in a run; empty when it finds it healthy or cannot decide.

    With `suspected`, that cause counts as soon as it is accused, any other only where it is sure enough to be a second
    fault: two at once are rarer than one.
    """
    from aitia.engine.case import Case
    from aitia.engine.reason import judge
    from aitia.engine.replay.reading import SECOND_FAULT, accused

    judgement = judge(Case(run))
    found = set(accused(judgement))
    return found if suspected is None else found & {suspected, *accused(judgement, SECOND_FAULT)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what the program may have left running; a process group outlives its leader."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _child(steps: int, runs: Path, argv: list[str]) -> int:
    from aitia.engine.replay.child import run_recorded

    return run_recorded(argv, runs, steps if steps >= 0 else None)


if __name__ == "__main__":
    sys.exit(_child(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
