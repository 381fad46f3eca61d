"""The loss value is clamped: samples beyond the clamp teach nothing.

Source: Karpathy, A Recipe for Training Neural Networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom
from aitia.engine.terms import ERRORS

_CLAMPS = (
    "ClampBackward",
    "ClampMaxBackward",
    "ClampMinBackward",
    "MinimumBackward",
    "MaximumBackward",
    "HardtanhBackward",
)
SILENT = 0.05
"""Share of steps without any gradient; where data are fitted within rounding there is none, but the loss is then small."""
HELD = 0.05
"""Share of hand-made errors above the clamp when most of the training is over; noise puts hardly any entry there."""
CUT = 0.3
"""Share of the error behind the clamp, late in training, beyond which the clamp decides what is learned."""
_LOSS_OPS = ("NllLoss", "MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BinaryCrossEntropy", "KlDiv")


def weigh(case: Case) -> Iterator[Weight]:
    """A clamp between the loss and the root of backward, and steps whose gradient is exactly zero."""
    if not case.train_loss_calls:
        yield from _by_hand(case)
        return
    for fact in case.run.facts("graph"):
        ops = [str(op) for op in fact.data.get("ops") or []]
        first_loss = next((i for i, op in enumerate(ops) if op.startswith(_LOSS_OPS)), None)
        if first_loss is None or not any(op.startswith(_CLAMPS) for op in ops[:first_loss]):
            continue
        _, norm = case.run.scalar("grad_norm")
        norm = norm[np.isfinite(norm)]
        silent = float((norm == 0).mean()) if len(norm) else 0.0
        cut = _cut(case, fact.data.get("site"), ops[:first_loss])
        yield supports(
            STRONG if silent > 0.05 or cut > CUT or not case.learned else MODERATE,
            f"the value of the loss is clamped before backward: {100 * silent:.0f} % of the steps have no gradient at all"
            + (f", and {100 * cut:.0f} % of the error stays behind the clamp" if cut > 0 else ""),
            tool="gradient_debugger",
            step=1,
            where=case.site_place(),
            silent_share=silent,
            cut_share=cut,
        )
        if not case.learned:
            yield symptom(MODERATE, f"the loss stays at {case.loss.last:.3g}", loss=case.loss.last)
        return


def _by_hand(case: Case) -> Iterator[Weight]:
    """An error that no loss function made, clamped entry by entry before its mean."""
    told = [t for f in case.run.facts("graph") for t in f.data.get("terms") or []]
    clamped = [t for t in told if _clamps(t)]
    _, norm = case.run.scalar("grad_norm")
    norm = norm[np.isfinite(norm)]
    silent = float((norm == 0).mean()) if len(norm) else 0.0
    late = [f for f in case.run.facts("graph") if f.step > case.n_steps // 4]
    cut = max((float(t.get("cut") or 0) for f in late for t in f.data.get("terms") or [] if _clamps(t)), default=0.0)
    if not clamped or (case.learned and silent < SILENT and cut < HELD):
        return
    if cut >= HELD:
        yield symptom(
            MODERATE,
            f"late in training {100 * cut:.0f} % of the errors lie above the clamp and teach nothing",
            cut_share=cut,
        )
    yield supports(
        STRONG if silent > SILENT or cut >= HELD or not case.learned else MODERATE,
        f"the errors are clamped before their mean goes into backward: {100 * silent:.0f} % of the steps have no gradient at all",
        tool="gradient_debugger",
        step=1,
        where=case.loss_place,
        silent_share=silent,
    )
    if not case.learned:
        yield symptom(MODERATE, f"the loss stays at {case.loss.last:.3g}", loss=case.loss.last)


def _clamps(term: dict[str, Any]) -> bool:
    below = [str(op) for op in term.get("below") or []]
    return len(below) > 1 and _is_clamped_error(below)


def _is_clamped_error(below: list[str]) -> bool:
    return below[0].startswith(_CLAMPS) and below[1] in ERRORS


def _cut(case: Case, site: object, above: list[str]) -> float:
    """Share of the error that the root of backward does not hold, where only a mean and the clamp stand above the loss."""
    if not isinstance(site, int) or any(not op.startswith((*_CLAMPS, "MeanBackward")) for op in above):
        return 0.0
    values, roots = case.calls(grad=True, site=site)["value"], case.per_backward.values
    if len(values) != len(roots) or not len(values):
        return 0.0
    late = slice(len(values) // 2, None)
    return 1.0 - nanmedian(roots[late] / np.maximum(values[late], 1e-12))


CAUSE = Cause(
    id="loss.clipped_loss",
    title="The loss is clamped, so the samples it is clamped for have no gradient",
    phase="loss",
    repair="Clip gradients, not the loss (or use a robust loss such as Huber).",
    mistaken_for={"loop.clip_before_backward": "there gradients are clipped"},
    explains=("model.dead_units", "numerics.vanishing_gradient", "eval.underfit_stopped_early"),
    intervention="none at run time",
    next_measurement="share of samples with a zero gradient",
    weigh=weigh,
    source="Karpathy, A Recipe for Training Neural Networks",
)
