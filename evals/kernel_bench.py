"""`python -m aitia.evals.kernel_bench`: what the statistics cost, against reading the same bytes once.

The yardstick is a plain vectorised sum over the bytes by the same number of threads. Both are measured in turns; a cell
is the ratio of the medians, with the range of the ratio over the turns' quartiles. 1.0 is the physical limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from aitia.engine import kernel
from aitia.engine.kernel import FEATURES_LAST, FLAT, WIDTH, pure

SIZES: Final = {"256 KB": 1 << 16, "16 MB": 1 << 22, "256 MB": 1 << 26}
"""Entries of float32: in the second-level cache, in the third (if it is large), and in main memory."""
TURNS: Final = 21
PURE_TURNS: Final = 3
LEAST: Final = 2e-4
"""Seconds that one reading of the clock covers at least; shorter work is repeated."""


def seconds(work: Callable[[], object], turns: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call."""
    start = clock()
    for _ in range(turns):
        work()
    return (clock() - start) / turns


def ratio(work: Callable[[], object], yardstick: Callable[[], object], threads: int, turns: int) -> dict[str, float]:
    """How much longer `work` takes; both are measured in turns, so that what disturbs one disturbs the other."""
    clock = (
        time.thread_time if threads == 1 else time.perf_counter
    )  # of one thread, time for which it did not run is not
    repeats = [max(1, int(LEAST / seconds(f, 3))) for f in (work, yardstick)]
    pairs = [(seconds(work, repeats[0], clock), seconds(yardstick, repeats[1], clock)) for _ in range(turns)]
    low, _, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    return {"ratio": ours / theirs, "low": low, "high": high, "seconds": ours, "read": theirs}


def cases(n: int) -> dict[str, tuple[torch.Tensor, int]]:
    """Tensors of the same number of bytes: plain, in samples, in half precision."""
    x = torch.randn(n, generator=torch.Generator().manual_seed(0))
    half = torch.cat([x, x]).to(torch.bfloat16)
    return {"flat": (x, FLAT), "samples": (x.reshape(-1, 1024), FEATURES_LAST), "bfloat16": (half, FLAT)}


def measure(threads: int) -> list[dict[str, Any]]:
    """All cases by this number of threads."""
    from aitia.engine.kernel import _statistics  # type: ignore[attr-defined,unused-ignore]  # built, not written

    out = np.empty((1, WIDTH))
    found = []
    for size, n in SIZES.items():
        for case, (x, layout) in cases(n).items():
            read = partial(_statistics.scan, x, threads)
            ours = partial(kernel.measure, (x,), out, 0, layout, None, None, threads, None)
            told = ratio(ours, read, threads, TURNS)
            found.append({"threads": threads, "size": size, "case": case, "bytes": x.nbytes, **told})
            if case == "flat" and threads == 1:
                plain = partial(pure.measure, (x,), out, 0, layout, None, None, 1, None)
                told = ratio(plain, read, threads, PURE_TURNS)
                found.append({"threads": 1, "size": size, "case": "flat by numpy", "bytes": x.nbytes, **told})
    return found


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if kernel.PATH != "compiled":
        raise SystemExit(f"nothing to compare: {kernel.why()[1]}")
    torch.set_num_threads(1)
    found = [row for threads in args.threads for row in measure(threads)]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print("| threads | size | tensor | statistics / one read | GB/s | GB/s of the read |\n|---|---|---|---|---|---|")
    for f in found:
        speeds = " | ".join(f"{f['bytes'] / f[k] / 1e9:.1f}" for k in ("seconds", "read"))
        cell = f"{f['ratio']:.2f} [{f['low']:.2f}, {f['high']:.2f}]"
        print(f"| {f['threads']} | {f['size']} | {f['case']} | {cell} | {speeds} |")


if __name__ == "__main__":
    main()
