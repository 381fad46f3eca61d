"""Validation builds graphs that nobody uses.

Source: flairNLP/flair#210.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, against, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Forwards in eval mode with gradient tracking that no backward follows."""
    rows = case.run.table("batch")
    tracked_eval = (rows["grad"] == 1) & (rows["training"] == 0)
    for root in np.unique(rows["root"][tracked_eval]):
        own, training = rows["root"] == root, (rows["grad"] == 1) & (rows["training"] == 1)
        if not (rows["step"][own & training] > rows["step"][own & tracked_eval].min()).any():
            tracked_eval &= ~own  # never trained again: a teacher, whose frozen parameters build no graph
    if tracked_eval.sum() < 2 or not (rows["training"] == 1).any():
        return
    if any("A" in text for text in case.signatures):
        return  # gradients are asked for by autograd.grad: the graphs are used
    trained = set(case.run.table("backward")["step"].astype(int).tolist())
    per_step = case.n_backward / max(1, len(trained))
    calls = rows["step"].astype(int)
    extra = sum(max(0, int((tracked_eval & (calls == s)).sum()) - 0) for s in np.unique(calls[tracked_eval]))
    in_training = int(((rows["grad"] == 1) & (rows["training"] == 1)).sum())
    if in_training < 0.8 * case.n_backward:
        return  # backward passes belong to these forwards
    yield supports(
        STRONG,
        f"{extra} forwards in eval mode built autograd graphs that no backward used",
        tool="memory_tracker",
        step=int(calls[tracked_eval][0]),
        forwards=extra,
        per_step=per_step,
    )
    if extra < 0.05 * in_training:
        yield against(MODERATE, f"they are few ({extra} beside {in_training} training forwards)", forwards=extra)


CAUSE = Cause(
    id="resource.eval_with_grad",
    title="Validation runs with gradient tracking and keeps graphs in memory",
    phase="eval",
    repair="Wrap validation in torch.no_grad() (or inference_mode).",
    mistaken_for={"resource.graph_retained_by_history": "there training graphs stay alive"},
    explains=("resource.out_of_memory",),
    intervention="no_grad in evaluation",
    next_measurement="memory peak in evaluation",
    weigh=weigh,
    source="flairNLP/flair#210",
)
