"""Every worker, and every epoch, draws the same random numbers: augmentation has far fewer outcomes than it seems.

Healthy twins: draws from torch's or numpy's own generators, which the loader seeds for each worker; one process without workers.
Source: pytorch/pytorch#5059, #3880; SO 67180955; xingyizhou/CenterNet#233.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

FEWEST = 16
"""Distinct samples below which repetitions may be chance."""
EXACT = 0.02
"""What samples cut off at an end may change in how often each one comes."""


def weigh(case: Case) -> Iterator[Weight]:
    """A data set's own generator in worker processes: what two fresh copies of it draw for the same sample."""
    for fact in case.run.facts("worker_randomness"):
        workers, epochs = int(fact.data.get("workers") or 0), int(fact.data.get("epochs") or 0)
        starts = workers * (1 if fact.data.get("persistent") else epochs)
        if fact.data.get("random") is not True or fact.data.get("repeated") is not True or starts < 2:
            continue
        loader = next((f for f in case.run.facts("loader") if f.data.get("num_workers")), None)
        yield supports(
            DECISIVE,
            f"the data set draws from its own generator ({listing(fact.data.get('generators') or [])}); {workers} workers in "
            f"{epochs} epochs began {starts} times with a copy of it, and two such copies draw the same for the same sample",
            tool="performance_profiler",
            step=1,
            where=case.place(loader),
            workers=workers,
            epochs=epochs,
            starts=starts,
        )
        return
    yield from _streamed(case)


def _streamed(case: Case) -> Iterator[Weight]:
    """A stream that every worker began alike: each of its samples comes once from each worker."""
    loader = next((f for f in case.run.facts("loader") if int(f.data.get("num_workers") or 0) > 1), None)
    rows = case.run.fact("rows")
    if loader is None or rows is None or loader.data.get("n_samples") is not None:
        return
    workers, epochs = int(loader.data["num_workers"]), 0
    epochs = sum(1 for f in case.run.facts("epoch") if f.data.get("index") == loader.data.get("index"))
    distinct, trained = int(rows.data.get("n_distinct") or 0), int(rows.data.get("n_trained") or 0)
    if distinct < FEWEST or not epochs:
        return
    times = trained / distinct
    again = next((n for n in (workers, workers * epochs) if abs(times - n) < EXACT * n), None)
    if again is None:
        return
    yield supports(
        DECISIVE,
        f"the stream handed out {trained} samples, and only {distinct} of them are distinct: each came {again} times, once from "
        f"each of {workers} workers" + (f" in each of {epochs} epochs" if again > workers else ""),
        tool="performance_profiler",
        step=1,
        where=case.place(loader),
        workers=workers,
        distinct=distinct,
        trained=trained,
    )


CAUSE = Cause(
    id="data.duplicate_randomness",
    title="Workers and epochs repeat the same random numbers",
    phase="data",
    repair="Seed the data set's generator in worker_init_fn (from torch.initial_seed()), or draw from torch's generator.",
    weigh=weigh,
    mistaken_for={"data.repeated_batch": "there the samples themselves repeat"},
    explains=("eval.overfit",),
    intervention="num_workers=0",
    interventions=("no_workers",),
    next_measurement="fingerprints of augmented samples over workers and epochs",
    source="pytorch/pytorch#5059",
)
