"""A loss summed over the batch: the gradient, and so the step, is N times larger.

Healthy twin: a sum with a rate that was chosen for it.
Source: SO 43611745; huggingface/transformers PR 34191.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, WEAK, Cause, Weight, against, supports, symptom
from aitia.engine.records import SourceLocation
from aitia.engine.terms import adapts, weight

MANY = 8.0
"""Factor between a loss and its mean that no learning rate was chosen for; weights of a few terms add up to less."""
STILL = 0.2
"""Path of the weights, in their norms, that teaches a network little; one that learns goes about its norm."""


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
    by_hand = [] if case.train_loss_calls else list(_by_hand(case))
    yield from by_hand or _by_weight(case)


def _by_weight(case: Case) -> Iterator[Weight]:
    """Means that are multiplied, summed or divided once more on their way into backward."""
    heavy = weight(case)
    k = nanmedian(case.run.scalar("n_backward")[1])
    if len(case.run.optimizers) > 1 or adapts(case) or not heavy > 0 or not k >= 1 or case.learned:
        return
    suffers = case.diverged or case.nonfinite_step is not None or case.overshoots
    where = case.loss_place
    if heavy >= MANY and suffers:
        yield supports(
            DECISIVE,
            f"what goes into backward counts the mean error {heavy:.3g} times (it is multiplied or summed), which multiplies the "
            "learning rate as much",
            tool="gradient_debugger",
            step=1,
            where=where,
            weight=heavy,
        )
        if case.diverged or case.nonfinite_step is not None:
            yield symptom(MODERATE, f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}")
    elif heavy * k <= 1 / MANY and case.path < STILL:
        yield supports(
            DECISIVE,
            f"what goes into backward is {heavy * k:.2g} times the mean error (it is divided once more), and in {case.n_steps} steps "
            f"the weights moved by {100 * case.path:.2g} % of their norm",
            tool="gradient_debugger",
            step=1,
            where=where,
            weight=heavy,
            path=case.path,
        )


def _by_hand(case: Case) -> Iterator[Weight]:
    """A loss without a loss function: the root of backward is itself the sum over a batch of squares or the like."""
    if not (case.diverged or case.nonfinite_step is not None) or len(case.run.optimizers) > 1:
        return
    graph = next(iter(case.run.facts("graph")), None)
    code = next(iter(case.run.facts("loss_code")), None)
    if graph is None or code is None or (graph.data.get("ops") or [""])[0] != "SumBackward0":
        return
    op = next(
        (op for op in reversed(code.data.get("ops") or []) if op.get("op") == "sum" and op.get("output") == []), None
    )
    batch = nanmedian(case.run.table("batch")["n"])
    shape = (op.get("inputs") or [[]])[0] if op else []
    if op is None or not shape or shape[0] != batch or batch < 2:
        return
    values = case.per_backward.values
    yield supports(
        DECISIVE,
        f"what goes into backward is a sum over {batch:.0f} samples (first value {values[0]:.4g}): the gradient is about "
        f"{batch:.0f} times that of the mean",
        tool="gradient_debugger",
        step=1,
        where=SourceLocation(file=code.file, lines=(int(op["line"]),)) if code.file and op.get("line") else None,
        batch=batch,
        value=float(values[0]),
    )
    yield symptom(
        MODERATE, f"the loss went from {case.loss.first:.3g} to {case.loss.last:.3g}", loss_last=case.loss.last
    )


def _root_ratio(case: Case) -> float | None:
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
        "optimizer.lr_too_low",
        "eval.underfit_stopped_early",
    ),
    intervention="divide the loss by the batch size",
    interventions=("average_loss",),
    next_measurement="gradient norm at two batch sizes",
    source="SO 43611745",
)
