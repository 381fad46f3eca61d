"""The same batch, step after step.

Source: Karpathy, A Recipe for Training Neural Networks ("overfit one batch" left on).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Fingerprints of training inputs: how many different ones there are, and how large they are against the data set."""
    rows = case.run.table("batch")
    tracked = (rows["grad"] == 1) & (rows["training"] == 1)
    roots = set(rows["root"][tracked].astype(int).tolist())
    if len(roots) != 1 or tracked.sum() < 10:
        return
    hashes, sizes = rows["in_hash"][tracked], rows["n"][tracked]
    distinct = len(np.unique(hashes))
    if distinct > 2 or distinct > 0.2 * len(hashes):
        return
    loader = next((f for f in case.run.facts("loader") if int(f.data.get("n_samples") or 0) > 0), None)
    total = int(loader.data.get("n_samples") or 0) if loader else 0
    seen = distinct * float(np.nanmax(sizes))
    if loader is None:
        yield supports(
            MODERATE, f"{len(hashes)} training forwards saw {distinct} different input(s)", step=1, distinct=distinct
        )
        held_out = case.eval_curve("n")
        if not held_out.n:
            yield against(STRONG, "there is no loader and no evaluation: this may be full-batch training")
    elif total > 1.5 * seen:
        yield supports(
            DECISIVE,
            f"{len(hashes)} training steps saw {distinct} different batch(es): {seen:.0f} of {total} samples",
            tool="performance_profiler",
            step=1,
            where=case.place(loader),
            distinct=distinct,
            seen=seen,
            total=total,
        )
        if case.learned:
            yield symptom(
                MODERATE,
                f"the training loss falls to {case.loss.last:.3g}: that batch is memorised",
                loss=case.loss.last,
            )


CAUSE = Cause(
    id="data.repeated_batch",
    title="Every step trains on the same batch",
    phase="data",
    repair="Iterate over the loader instead of taking its first batch again (next(iter(loader)) starts anew each time).",
    weigh=weigh,
    mistaken_for={"eval.overfit": "there batches differ"},
    explains=("eval.overfit", "perf.rebuilt_every_step"),
    intervention="iterate over the loader",
    next_measurement="fingerprints of the training batches",
    source="Karpathy, A Recipe for Training Neural Networks",
)
