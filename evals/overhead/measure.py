"""Steps with and without a recorder side by side in one process, and peak memory in processes of their own."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from typing import Any, Final

import numpy as np
import torch

from aitia.evals.overhead.recorders import Nothing, made
from aitia.evals.overhead.workloads import WORKLOADS, Workload

BLOCK: Final = 0.15
"""Seconds of a block of steps: long against putting hooks in place, short against the machine's moods."""
LONGEST: Final = 1.0
"""Seconds of a block at most; below that it holds two periods of a recorder that does not do the same at every step."""
WARM: Final = 0.6
"""Seconds of plain steps first: allocator, caches, Adam's state."""
FIRST: Final = 2.0
"""Seconds that count as the beginning: there aitia measures every step in full, on purpose."""
RESAMPLES: Final = 2000
MEMORY_STEPS: Final = 40
"""Steps of a process whose peak memory is read: all of them inside the beginning, where most is kept."""
RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class _Clock:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Seconds of the processor (all threads) and of the clock on the wall."""
        return time.process_time() - self._start[0], time.perf_counter() - self._start[1]


def _bare(work: Workload, n: int) -> tuple[float, float]:
    clock = _Clock()
    for _ in range(n):
        work.step()
    cpu, wall = clock.read()
    return cpu / n, wall / n


def _recorded(work: Workload, tool: Nothing, n: int) -> tuple[float, float]:
    """Steps with the recorder on; taking it on and off is not counted."""
    tool.attach()
    clock = _Clock()
    for _ in range(n):
        tool.after(work.step())
    cpu, wall = clock.read()
    tool.detach()
    return cpu / n, wall / n


def measure(workload: str, recorder: str, seconds: float) -> dict[str, Any]:
    """Ratios of one recorder on one workload: in its first seconds, and afterwards in interleaved blocks."""
    torch.manual_seed(0)
    work = WORKLOADS[workload]()
    tool, folder = made(recorder, work)
    try:
        return _measure(work, tool, workload, recorder, seconds)
    finally:
        tool.close()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(work: Workload, tool: Nothing, workload: str, recorder: str, seconds: float) -> dict[str, Any]:
    _bare(work, 3)
    cpu, wall = _bare(work, 3)
    _bare(work, max(3, int(WARM / wall)))
    cpu, wall = _bare(work, max(3, int(WARM / wall)))
    plain = cpu
    n = max(1, int(BLOCK / wall))
    first, _ = _recorded(work, tool, max(3, int(FIRST / wall)))
    tool.settle()
    _recorded(work, tool, max(n, min(400, int(0.5 / wall))))
    n = max(n, min(2 * tool.period(), int(LONGEST / wall)))
    pairs: list[tuple[float, float]] = []
    bare = _bare(work, n)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(pairs) < 6:
        with_it = _recorded(work, tool, n)
        after = _bare(work, n)
        # Each recorded block stands between two plain ones: a drift of the machine's speed cancels.
        pairs.append(tuple(2 * w / (a + b) for w, a, b in zip(with_it, bare, after, strict=True)))  # type: ignore[arg-type]  # two
        bare = after
    ratios = np.array(pairs)
    return {
        "workload": workload,
        "recorder": recorder,
        "step_ms": 1e3 * plain,
        "cpu": interval(ratios[:, 0]),
        "wall": interval(ratios[:, 1]),
        "first": first / plain,
        "own": tool.own_share(),
        "blocks": len(pairs),
        "steps_per_block": n,
    }


def interval(values: np.ndarray[Any, Any]) -> list[float]:
    """Median, and the bootstrap's 95 % interval of it."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return [float(np.median(values)), float(low), float(high)]


def memory(workload: str, recorder: str) -> dict[str, Any]:
    """Peak resident bytes of this process after a few dozen steps, and what the model with its optimizer holds."""
    torch.manual_seed(0)
    work = WORKLOADS[workload]()
    tool, folder = made(recorder, work)
    tool.attach()
    for _ in range(MEMORY_STEPS):
        tool.after(work.step())
    tool.detach()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    tool.close()
    shutil.rmtree(folder, ignore_errors=True)
    parameters = sum(p.numel() * p.element_size() for p in work.model.parameters())
    held = sum(
        t.numel() * t.element_size()
        for state in work.optimizer.state.values()
        for t in state.values()
        if isinstance(t, torch.Tensor)
    )
    return {"workload": workload, "recorder": recorder, "peak": peak, "footprint": 2 * parameters + held}
