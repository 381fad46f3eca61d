"""Steps with and without a recorder in two processes that take turns: for compiled programs.

A compiled program is compiled for the hooks that are in place. Putting them on and off makes PyTorch compile anew until
it gives up, and what is timed is that. So one process has the recorder from before the first step to the end, the other
never has it, and a parent lets them take blocks of steps in turn. The two differ by chance in how their memory lies,
which is why several pairs are made, and why the row `nothing` (a process against its twin) has to be read along.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
import torch

from aitia.evals.overhead.measure import BLOCK, FIRST, LONGEST, WARM, interval
from aitia.evals.overhead.recorders import made
from aitia.evals.overhead.workloads import WORKLOADS

PAIRS: Final = 3
"""Pairs of processes: the median over their blocks is a median over three layouts of memory."""


def measure_apart(workload: str, recorder: str, seconds: float) -> dict[str, Any]:
    """Ratios of one recorder on one workload, each block of steps between two of a process without it."""
    ratios: list[tuple[float, float]] = []
    firsts, owns, plains, n = [], [], [], 1
    for _ in range(PAIRS):
        with _Worker(workload, "nothing") as bare, _Worker(workload, recorder) as tool:
            cpu, wall = bare.ask("warm")
            tool.ask("warm")
            plains.append(cpu)
            firsts.append(tool.ask("first")[0] / cpu)
            n = max(1, int(BLOCK / wall), min(2 * int(tool.ask("period")[0]), int(LONGEST / wall)))
            before, start, taken = bare.ask("steps", n), time.perf_counter(), 0
            while time.perf_counter() - start < seconds or taken < 3:
                with_it, after = tool.ask("steps", n), bare.ask("steps", n)
                ratios.append((2 * with_it[0] / (before[0] + after[0]), 2 * with_it[1] / (before[1] + after[1])))
                before, taken = after, taken + 1
            owns.append(tool.ask("own")[0])
    values = np.array(ratios)
    return {
        "workload": workload,
        "recorder": recorder,
        "step_ms": 1e3 * float(np.median(plains)),
        "cpu": interval(values[:, 0]),
        "wall": interval(values[:, 1]),
        "first": float(np.median(firsts)),
        "own": None if np.isnan(owns).all() else float(np.nanmedian(owns)),
        "blocks": len(ratios),
        "steps_per_block": n,
    }


class _Worker:
    """A process that has a workload and, from before its first step on, perhaps a recorder."""

    def __init__(self, workload: str, recorder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(workload, recorder, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()

    def ask(self, what: str, n: int = 0) -> tuple[float, float]:
        """Two numbers: seconds of the processor and of the clock for one step, or what was asked for."""
        self.pipe.send((what, n))
        found: tuple[float, float] = self.pipe.recv()
        return found


def _serve(workload: str, recorder: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = WORKLOADS[workload]()
    tool, folder = made(recorder, work)
    tool.attach()

    def steps(n: int) -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(n):
            tool.after(work.step())
        return (time.process_time() - cpu) / n, (time.perf_counter() - wall) / n

    try:
        while True:
            what, n = pipe.recv()
            if what == "warm":  # the first steps compile
                steps(3)
                steps(max(3, int(WARM / steps(3)[1])))
                pipe.send(steps(max(3, int(WARM / steps(3)[1]))))
            elif what == "first":
                pipe.send(steps(max(3, int(FIRST / steps(1)[1]))))
                tool.settle()
                steps(max(3, int(WARM / steps(1)[1])))
            elif what == "period":
                pipe.send((tool.period(), 0.0))
            elif what == "own":
                own = tool.own_share()
                pipe.send((float("nan") if own is None else own, 0.0))
            else:
                pipe.send(steps(n))
    except EOFError:
        tool.detach()
        tool.close()
        shutil.rmtree(folder, ignore_errors=True)
