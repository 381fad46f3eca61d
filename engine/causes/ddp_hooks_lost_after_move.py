"""Parameters were replaced or moved after wrapping, so the wrapper no longer averages their gradients

Source: pytorch/pytorch#104336.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom

LASTING = 0.8
"""Share of the steps from the first difference on that differ: a lost hook stays lost."""


def weigh(case: Case) -> Iterator[Weight]:
    """Forwards go through the wrapper, and gradients of the same step differ between ranks from some step on."""
    group = case.ranks
    if group is None or not group.alike or not all(group.use("wrapped")):
        return
    gradient = group.difference("grad_norm")
    if gradient is None or gradient.first is None:
        return
    since = gradient.steps >= gradient.first
    lasting = float(np.mean(gradient.at[since]))
    columns = np.flatnonzero(gradient.differ[since].mean(axis=0) > 0.5)
    flat = {p.name for p in case.run.parameters if len(p.shape) < 2}
    if lasting < LASTING or since.sum() < 3 or not len(columns) or all(gradient.names[i] in flat for i in columns):
        return
    names = [gradient.names[i] for i in columns]
    before = int((~since).sum())
    yield supports(
        DECISIVE if before >= 2 else STRONG,
        f"the wrapper is called, and yet gradients of {listing(names)} differ between ranks in {lasting:.0%} of the steps from "
        f"step {gradient.first} on" + (f"; in the {before} steps before they were the same" if before else ""),
        tool="gradient_debugger",
        subject=case.owner(names[0]),
        step=gradient.first,
        n=len(names),
        before=before,
    )
    drift = group.difference("weight_norm")
    if drift is not None and drift.first is not None:
        yield symptom(MODERATE, f"weights drift apart from step {drift.first} on", step=drift.first)


CAUSE = Cause(
    id="ddp.hooks_lost_after_move",
    title="Parameters that the data-parallel wrapper no longer synchronises",
    phase="setup",
    repair="Finish all changes to the model (moves, new layers) before wrapping it, or wrap it again after them.",
    weigh=weigh,
    mistaken_for={
        "ddp.forward_bypasses_wrapper": "there the wrapper is not called",
        "ddp.comm_corruption": "there single steps differ and the next ones agree again",
        "ddp.replicated_param_diverges": "there only norms and biases differ",
    },
    explains=("ddp.metric_not_reduced",),
    intervention="wrap again after the change",
    next_measurement="gradient norms of every rank",
    source="pytorch/pytorch#104336",
)
