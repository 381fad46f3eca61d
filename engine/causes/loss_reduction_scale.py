"""A loss summed over the batch: the gradient, and so the step, is N times larger.

Healthy twin: a sum with a rate that was chosen for it.
Source: SO 43611745; huggingface/transformers PR 34191.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, WEAK, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Reduction, the batch it sums over, and whether the run suffers from it."""
    for fact in case.train_loss_calls:
        if fact.data.get("reduction") != "sum" or fact.data.get("in_backward") is False:
            continue
        site = case.site_of(fact)
        rows = case.calls(grad=True, site=site)
        n, value = nanmedian(rows["n"]), nanmedian(rows["value"][:5])
        ratio = _root_ratio(case)
        if ratio is not None and n > 1 and ratio < 2.0 / n:
            yield against(
                DECISIVE, f"the sum is divided again before backward (by about {1 / max(ratio, 1e-9):.0f})", ratio=ratio
            )
            return
        suffers = case.diverged or case.nonfinite_step is not None or not case.learned
        yield supports(
            DECISIVE if suffers else WEAK,
            f"{fact.data.get('function')} sums over {n:.0f} samples (first value {value:.4g}, {value / max(n, 1):.3g} per sample): "
            f"the gradient is about {n:.0f} times that of the mean",
            tool="gradient_debugger",
            step=1,
            where=case.place(fact),
            batch=n,
            value=value,
        )
        if case.diverged or case.nonfinite_step is not None:
            yield symptom(
                MODERATE, f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}", loss_last=case.loss.last
            )
        return


def _root_ratio(case: Case) -> float | None:
    import numpy as np

    back, calls = case.run.table("backward"), case.calls(grad=True)
    n = min(len(back["loss"]), len(calls["value"]))
    if n < 3 or len(back["loss"]) != len(calls["value"]):
        return None
    with np.errstate(all="ignore"):
        return abs(nanmedian(back["loss"][:n] / calls["value"][:n]))


CAUSE = Cause(
    id="loss.reduction_scale",
    title="The loss is summed over the batch instead of averaged, which multiplies the effective learning rate",
    phase="loss",
    repair="Use reduction='mean' (or divide by the number of samples or tokens).",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the loss is a mean",
        "loop.accumulation_not_normalized": "there the sum is over backward passes",
    },
    explains=(
        "optimizer.lr_too_high",
        "numerics.exploding_gradient",
        "model.dead_units",
        "model.saturated_units",
        "numerics.exp_overflow",
        "loop.accumulation_not_normalized",
    ),
    intervention="divide the loss by the batch size",
    next_measurement="gradient norm at two batch sizes",
    source="SO 43611745",
)
