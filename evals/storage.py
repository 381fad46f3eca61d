"""What a large run costs on disk, and how quickly it is read: `python -m aitia.evals.storage [--layers N] [--steps N]`.

Writes a made-up run with the real writer, numbers behaving like those of a training: norms that wander, shares that are
fractions of a width, counts that are zero. Prints one JSON object per line.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aitia.engine.records import LayerInfo, LossSite, OptimizerInfo, ParameterInfo, RunInfo, RunStatus
from aitia.engine.store.pack import pack
from aitia.engine.store.reader import Run
from aitia.engine.store.schema import WIDE
from aitia.engine.store.writer import RunWriter

KINDS: Final = (("Linear", "linear"), ("LayerNorm", "norm"), ("GELU", "activation"), ("Dropout", "dropout"))
WIDTH: Final = 1024
"""Features of a layer: shares are multiples of one over this."""
PACK_SECONDS: Final = 600.0
"""Enough to pack everything, so that the figure is that of the whole run."""
Block = npt.NDArray[np.float32]


class Course:
    """Statistics of one wide table, step by step: [statistics, subjects] float32."""

    def __init__(self, table: str, subjects: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._stats = tuple(WIDE[table])
        shape = (len(self._stats), subjects)
        self._level = rng.normal(0.0, 1.0, shape).astype(np.float32)
        self._noise = rng.uniform(0.02, 0.2, shape).astype(np.float32)
        self._share = np.array([s.endswith("_share") for s in self._stats])
        self._zero = np.array([s.endswith("_nonfinite") for s in self._stats])
        self._one = np.array([s in {"calls", "training", "out_tracked", "grad_present"} for s in self._stats])
        self._signed = np.array([s.endswith(("_mean", "_min")) for s in self._stats])
        self._none = rng.random(shape) < np.where([s.endswith("sat_share") for s in self._stats], 0.9, 0.0)[:, None]

    def step(self) -> Block:
        """The next row."""
        drift = self._rng.standard_normal(self._level.shape, dtype=np.float32)
        self._level += np.float32(0.01) * drift
        values = np.exp(self._level + self._noise * self._rng.standard_normal(self._level.shape, dtype=np.float32))
        values[self._signed] *= -1
        values[self._share] = np.floor(values[self._share] * 100) % WIDTH / WIDTH
        values[self._zero], values[self._one] = 0.0, 1.0
        values[self._none] = np.nan
        return values


def write_big(path: Path, layers: int, steps: int, *, packed: bool = True, seed: int = 0) -> Run:
    """Write a run of so many layers (and as many parameters) and steps through the real writer, and open it."""
    path.mkdir(parents=True)
    writer = RunWriter(path, RunInfo(id=path.name, command=("train.py",), script="train.py", created=time.time()))
    _describe(writer, layers)
    rng = np.random.default_rng(seed)
    courses = {"layer": Course("layer", layers, rng), "param": Course("param", layers, rng)}
    for step in range(1, steps + 1):
        for table, course in courses.items():
            writer.wide(table, step, course.step())
        for table, row in _rows(step, steps, rng):
            writer.narrow(table, row)
        if step % 50 == 0:
            writer.flush(60.0)
    writer.update(status=RunStatus.FINISHED, exit_code=0, ended=time.time())
    writer.close(120.0)
    if packed:
        pack(path, PACK_SECONDS)
    return Run(path)


def _describe(writer: RunWriter, layers: int) -> None:
    for i in range(layers):
        cls, kind = KINDS[i % len(KINDS)]
        name = f"blocks.{i // len(KINDS)}.{kind}"
        own = (f"{name}.weight",)
        writer.subject("layer", i, LayerInfo(index=i, name=name, cls=cls, kind=kind, root="model", parameters=own))
        writer.subject("parameter", i, ParameterInfo(
            index=i, name=own[0], layer=name, shape=(WIDTH, WIDTH), dtype="float32", requires_grad=True,
            optimizers=(0,), group=0,
        ))  # fmt: skip
    writer.subject("optimizer", 0, OptimizerInfo(index=0, name="optimizer", cls="AdamW", groups=({"lr": 1e-3},)))
    writer.subject("loss", 0, LossSite(index=0, function="cross_entropy", file="train.py", line=9))
    writer.fact("signature_counts", 1, 0.0, data={"F0 L0 B S0 Z0": 1})


def _rows(step: int, steps: int, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, float | int]]]:
    loss = 2.3 * math.exp(-3.0 * step / steps) + 0.05 * rng.random()
    at = 0.1 * step
    yield "step", {"step": step, "time": at, "loss": loss, "n_backward": 1, "n_forward": 1, "n_zero_grad": 1,
                   "grad_norm": 1 + rng.random(), "lr": 1e-3, "update_ratio": 1e-3, "step_s": 0.1}  # fmt: skip
    yield "group", {"step": step, "optimizer": 0, "group": 0, "lr": 1e-3, "weight_decay": 0.01}
    yield "backward", {"step": step, "time": at, "loss": loss, "site": 0, "retain_graph": 0, "carried": 0}
    yield "loss", {"step": step, "time": at, "site": 0, "grad": 1, "training": 1, "value": loss, "n": 32,
                   "accuracy": 1 - loss / 3, "valid_share": 1.0}  # fmt: skip
    yield "batch", {"step": step, "time": at, "root": 0, "grad": 1, "training": 1, "n": 32,
                    "in_mean": rng.normal(), "in_std": 1.0, "in_hash": int(rng.integers(1 << 60))}  # fmt: skip


def measure(path: Path) -> dict[str, Any]:
    """Bytes of one run, and the processor's time for reading it (its files lie in the system's cache)."""
    run = Run(path)
    bytes_ = sum(p.stat().st_size for p in (path / "series").iterdir())
    values = _values(run)
    found = {"bytes": bytes_, "values": values, "bytes_per_value": round(bytes_ / values, 3)}
    asked: dict[str, Callable[[Run], object]] = {
        "one_series_ms": lambda r: r.of_layer(r.layers[len(r.layers) // 2].name, "out_std"),
        "one_statistic_ms": lambda r: r.wide("layer").values["out_std"],
        "steps_table_ms": lambda r: r.table("step"),
    }
    asked["one_series_ms"](run)  # imports and the disk's cache are not what is measured
    for name, read in asked.items():
        fresh = Run(path)
        _ = fresh.layers
        start = time.process_time()
        read(fresh)
        found[name] = round(1000 * (time.process_time() - start), 1)
    return found


def _values(run: Run) -> int:
    return sum(len(run.wide(t).steps) * len(WIDE[t]) * n for t, n in
               (("layer", len(run.layers)), ("param", len(run.parameters))))  # fmt: skip


def ask(path: Path) -> dict[str, Any]:
    """Time and memory of `aitia why` on it, in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "aitia", "why", path.name, "--runs", str(path.parent), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "why_s": round(seconds, 2),
        "why_cpu_s": round(cpu, 2),
        "why_peak_rss_gb": round(after.ru_maxrss / 1e6, 2),  # KiB on Linux
        "verdict": json.loads(done.stdout)["verdict"] if done.returncode == 0 else done.stderr[-500:],
    }


def main() -> None:
    """Write, measure, pack, measure again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="write the run here and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "big"
        if not path.exists():
            write_big(path, options.layers, options.steps, packed=False)
        print(json.dumps({"as": "segments", **measure(path), **ask(path)}), flush=True)
        start = time.perf_counter()
        whole = pack(path, PACK_SECONDS)
        print(json.dumps({"pack_s": round(time.perf_counter() - start, 1), "whole": whole}), flush=True)
        print(json.dumps({"as": "parquet", **measure(path), **ask(path)}), flush=True)


if __name__ == "__main__":
    main()
