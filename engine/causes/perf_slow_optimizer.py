"""Most of a step goes into the optimizer, and torch would do the same work many times faster.

Healthy twin: a model so small that any optimizer's overhead is most of its step.
Source: PyTorch performance tuning guide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import STRONG, WEAK, Cause, Weight, supports

SHARE = 0.4
"""Of the step's time; forward and backward together usually take nine tenths."""
SLOWER = 8.0
"""Times the grouped implementation; several loops over parameters cost two to four times as much."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the optimizer in the step, and what a grouped Adam takes on tensors of the same shapes."""
    fact = case.run.fact("optimizer_cost")
    if fact is None or case.n_steps < 10 or case.closures:  # which compute losses and gradients within the step
        return
    _, spent = case.run.scalar("optimizer_s")
    _, whole = case.run.scalar("step_s")
    _, own = case.run.scalar("recorder_s")
    time = float(np.nansum(whole[2:]) - np.nansum(own[2:]))
    share = float(np.nansum(spent[2:])) / time if time > 0 else 0.0
    step, reference = float(fact.data.get("step_s") or 0.0), float(fact.data.get("reference_s") or 0.0)
    if share < SHARE or not reference > 0 or step < SLOWER * reference:
        return
    yield supports(
        STRONG + WEAK,
        f"the optimizer takes {100 * share:.0f} % of the time, {1000 * step:.3g} ms per step; torch's grouped Adam takes "
        f"{1000 * reference:.2g} ms on tensors of the same {fact.data.get('n_tensors')} shapes",
        tool="performance_profiler",
        step=1,
        where=case.optimizer_place(),
        share=min(1.0, share),
        step_s=step,
        reference_s=reference,
    )


CAUSE = Cause(
    id="perf.slow_optimizer",
    title="The optimizer's step is slow: it works through the parameters piece by piece",
    phase="step",
    repair="Use torch's optimizer with foreach=True or fused=True, or torch._foreach_* functions on lists of tensors.",
    weigh=weigh,
    mistaken_for={"resource.loader_bound": "there the time goes into waiting for data"},
    intervention="none at run time",
    next_measurement="optimizer time against forward and backward",
    source="PyTorch performance tuning guide",
)
