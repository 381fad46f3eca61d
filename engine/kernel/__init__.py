"""Statistics of many tensors in one call, one read of memory each: compiled where a compiler was found, else by numpy.

    rows = numpy.empty((len(gradients), WIDTH))
    unread = measure(gradients, rows, 0, FLAT, None, None, torch.get_num_threads(), None)
    norms = rows[:, AT["l2"]]

Both paths take the same arguments and give the same numbers (`tests/kernel` compares them):

- `tensors`, a list or tuple of anything that speaks DLPack: torch tensors (also those that require a gradient), arrays.
- `out`, a writable buffer of float64 rows of `WIDTH`; rows `at`, `at + 1`, … are filled with `FIELDS`.
- `layout`: `FLAT`, or `FEATURES_LAST` or `CHANNELS` where the first dimension counts samples and `dead_share` and
  `sample_std` are wanted; features are counted along the last dimension or along dimension 1.
- `low`, `high`: an entry below or above is saturated; None and None: beyond ±0.99, if all entries are within ±1.
- `threads`: how many may work on a call that is large enough for it. Results do not depend on it.
- `before`: None, or a list of tensors (or None) as long as `tensors`, of the same shapes: what these were before.

Returned are the indices of tensors that cannot be read here (on a device, sparse, complex, without data); their rows
are NaN. `gradients(parameters, out, at, threads)` does the same with the gradients that these have, without a Python
object for each of them, and returns the norm over all; `count` is -1 where there is none, and nothing is said of
saturation. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aitia.engine.kernel import pure
from aitia.engine.kernel.fields import AT, CHANNELS, FEATURES_LAST, FIELDS, FLAT, WIDTH

__all__ = ["AT", "CHANNELS", "FEATURES_LAST", "FIELDS", "FLAT", "PATH", "WIDTH", "gradients", "measure", "why"]

SWITCH: Final = "AITIA_KERNEL"
"""Environment variable; `0` chooses the numpy path although a compiled one is there."""
REPORT: Final = Path(__file__).with_name("build.json")
"""What the build hook left: {compiler} or {failed}."""

Gradients = Callable[[Sequence[Any], Any, int, int], float]
Measure = Callable[[Sequence[Any], Any, int, int, float | None, float | None, int, Sequence[Any] | None], list[int]]


def _chosen() -> tuple[Measure, Gradients, str]:
    if os.environ.get(SWITCH) != "0":
        try:
            # Built by hatch_build.py, absent where there was no compiler; so no type checker can know it.
            from aitia.engine.kernel import _statistics  # type: ignore[attr-defined,unused-ignore]

            if _statistics.FIELDS == WIDTH:
                # One that was built from an older source lacks the second.
                return _statistics.measure, getattr(_statistics, "gradients", pure.gradients), "compiled"
        except ImportError:
            pass
    return pure.measure, pure.gradients, "numpy"


def why() -> tuple[str, str]:
    """Which path a recording would take, and the reason in words; without loading it."""
    report: dict[str, str] = {}
    if REPORT.is_file():
        report = json.loads(REPORT.read_text("utf-8"))
    if os.environ.get(SWITCH) == "0":
        return "numpy", f"{SWITCH}=0 is set"
    if PATH == "compiled":
        return "compiled", f"built with {report.get('compiler', 'an unknown compiler')}"
    return "numpy", report.get("failed", "not built: install with `pip install .` where a C++ compiler is on PATH")


measure, gradients, PATH = _chosen()
