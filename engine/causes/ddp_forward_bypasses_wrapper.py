"""The training forward calls the module inside the data-parallel wrapper, so gradients are never averaged

Source: TrainCheck (OSDI 2025).
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom

OFTEN = 0.1
"""Share of the training forwards that go around the wrapper before it counts as the rule and not as an exception."""


def weigh(case: Case) -> Iterator[Weight]:
    """Training forwards of the inner module, and weights that drift apart between ranks."""
    fact = case.run.fact("ddp_use")
    if fact is None:
        return
    bare, wrapped = int(fact.data.get("bare") or 0), int(fact.data.get("wrapped") or 0)
    if bare < 3 or bare < OFTEN * (bare + wrapped):
        return
    yield supports(
        DECISIVE,
        f"{bare} of {bare + wrapped} training forwards call the module inside DistributedDataParallel instead of the wrapper",
        tool="layer_analyzer",
        step=1,
        where=case.place(fact),
        bare=bare,
        wrapped=wrapped,
    )
    drift = case.ranks.difference("weight_norm") if case.ranks is not None and case.ranks.alike else None
    if drift is None:
        return
    if drift.first is not None:
        gap = float(drift.gap.max())
        yield symptom(
            MODERATE, f"weights differ between ranks from step {drift.first} on (by up to {gap:.1%})", gap=gap
        )
    else:
        yield against(STRONG, f"weights are the same on all ranks at all {len(drift.steps)} steps compared")


CAUSE = Cause(
    id="ddp.forward_bypasses_wrapper",
    title="The training forward goes around the data-parallel wrapper",
    phase="forward",
    repair="Call the wrapper (ddp(x)), not ddp.module(x), in every training step.",
    weigh=weigh,
    mistaken_for={
        "ddp.never_synchronised": "there nothing is wrapped at all",
        "ddp.hooks_lost_after_move": "there the wrapper is called and gradients still differ between ranks",
    },
    explains=(
        "ddp.never_synchronised",
        "ddp.hooks_lost_after_move",
        "ddp.replicated_param_diverges",
        "ddp.metric_not_reduced",
    ),
    intervention="call the wrapper",
    next_measurement="weight checksums of every rank",
    source="TrainCheck (OSDI 2025)",
)
