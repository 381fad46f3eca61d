"""The loss value is clamped: samples beyond the clamp teach nothing.

Source: Karpathy, A Recipe for Training Neural Networks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, supports, symptom

_CLAMPS = (
    "ClampBackward",
    "ClampMaxBackward",
    "ClampMinBackward",
    "MinimumBackward",
    "MaximumBackward",
    "HardtanhBackward",
)
_LOSS_OPS = ("NllLoss", "MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BinaryCrossEntropy", "KlDiv")


def weigh(case: Case) -> Iterator[Weight]:
    """A clamp between the loss and the root of backward, and steps whose gradient is exactly zero."""
    for fact in case.run.facts("graph"):
        ops = [str(op) for op in fact.data.get("ops") or []]
        first_loss = next((i for i, op in enumerate(ops) if op.startswith(_LOSS_OPS)), None)
        if first_loss is None or not any(op.startswith(_CLAMPS) for op in ops[:first_loss]):
            continue
        _, norm = case.run.scalar("grad_norm")
        norm = norm[np.isfinite(norm)]
        silent = float((norm == 0).mean()) if len(norm) else 0.0
        yield supports(
            STRONG if silent > 0.05 or not case.learned else MODERATE,
            f"the value of the loss is clamped before backward; {100 * silent:.0f} % of the steps have no gradient at all",
            tool="gradient_debugger",
            step=1,
            where=case.site_place(),
            silent_share=silent,
        )
        if not case.learned:
            yield symptom(MODERATE, f"the loss stays at {case.loss.last:.3g}", loss=case.loss.last)
        return


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
