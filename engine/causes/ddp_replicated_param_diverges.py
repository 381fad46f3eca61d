"""A few replicated parameters (norms, biases) drift apart between ranks while all others stay the same

Source: DeepSpeed#1801; BLOOM training chronicles.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Weights that differ between ranks, all of them vectors, beside matrices that never differ."""
    group = case.ranks
    if group is None or not group.alike or any(group.use("sharded")):
        return
    drift = group.difference("weight_norm")
    if drift is None or drift.first is None or len(drift.steps) < 3:
        return
    apart = np.flatnonzero(drift.differ[-1])
    flat = {p.name for p in case.run.parameters if len(p.shape) < 2}
    names = [drift.names[i] for i in apart]
    if not names or len(names) == len(drift.names) or not all(n in flat for n in names):
        return
    if all(n in flat for n in drift.names):
        return
    gap = float(drift.gap[-1].max())
    yield supports(
        DECISIVE if len(drift.names) - len(names) >= 2 else STRONG,
        f"{listing(names)} differ between ranks from step {drift.first} on (by up to {gap:.1%}), while the other "
        f"{len(drift.names) - len(names)} parameters are the same on all ranks",
        tool="gradient_debugger",
        subject=names[0],
        step=drift.first,
        gap=gap,
    )


CAUSE = Cause(
    id="ddp.replicated_param_diverges",
    title="Replicated parameters drift apart between ranks",
    phase="step",
    repair="Treat replicated parameters alike on all ranks: synchronise their gradients, and clip by the global norm.",
    weigh=weigh,
    mistaken_for={
        "ddp.hooks_lost_after_move": "there matrices differ, too",
    },
    explains=(),
    intervention="average these parameters once",
    next_measurement="checksums of every parameter on every rank",
    source="DeepSpeed#1801; BLOOM training chronicles",
)
