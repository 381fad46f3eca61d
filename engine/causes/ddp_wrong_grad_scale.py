"""Gradients are summed over the ranks and used undivided: the learning rate is multiplied by their number

Source: huggingface/transformers PR 34511.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

DIVIDED = 0.9
"""A factor below this between collective and step: the program divides, or clips."""


def weigh(case: Case) -> Iterator[Weight]:
    """all_reduce with a sum on gradients, which enter the step as large as they came out, of a loss that was not divided either."""
    fact = case.run.fact("ddp_use")
    world = case.run.info.world_size
    if fact is None or world < 2 or not fact.data.get("gradients"):
        return
    factor, ops = fact.data.get("factor"), fact.data.get("ops") or {}
    if (
        not isinstance(factor, (int, float))
        or factor < DIVIDED
        or "sum" not in str(max(ops, key=lambda op: int(ops[op]), default=""))
    ):
        return
    if _loss_was_divided(case, world):
        return
    double = bool(fact.data.get("wrapped"))
    yield supports(
        DECISIVE,
        f"all_reduce sums the gradients of {world} ranks ({fact.data['gradients']} calls), and the step uses them undivided"
        + (", after the wrapper has averaged them already" if double else ""),
        tool="gradient_debugger",
        step=1,
        where=case.place(fact),
        world=world,
        factor=float(factor),
    )
    if case.diverged:
        yield symptom(MODERATE, "the loss diverges", loss=case.loss.last)


def _loss_was_divided(case: Case, world: int) -> bool:
    """Whether the roots of backward are the loss over the number of ranks."""
    root, value = case.per_backward.values, case.calls(grad=True)["value"]
    n = min(len(root), len(value))
    with np.errstate(all="ignore"):
        ratio = float(np.nanmedian(root[:n] / value[:n])) if n else 1.0
    return abs(ratio * world - 1.0) < 0.1


CAUSE = Cause(
    id="ddp.wrong_grad_scale",
    title="Gradients are summed over ranks instead of averaged",
    phase="backward",
    repair="Divide by the number of ranks after all_reduce (or use ReduceOp.AVG), or let DistributedDataParallel do it.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there a single process diverges, too",
        "loss.reduction_scale": "there the loss itself is a sum over samples",
    },
    explains=(
        "optimizer.lr_too_high",
        "numerics.exploding_gradient",
    ),
    intervention="divide by the number of ranks",
    next_measurement="gradient norm against that of a single process",
    source="huggingface/transformers PR 34511",
)
