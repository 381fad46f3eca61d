"""Gradients are clipped while they still carry the loss scale: what reaches the step is max_norm / scale.

Source: Lightning-AI/pytorch-lightning#9599; milesial/Pytorch-UNet#468; pytorch/examples#1196.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Order of clipping and unscaling, and the norm that was left."""
    for fact in case.run.facts("clip"):
        scale = fact.data.get("loss_scale")
        if fact.data.get("before_unscale") is not True or not isinstance(scale, (int, float)) or scale <= 1:
            continue
        _, norm = case.run.scalar("grad_norm")
        left = nanmedian(norm)
        yield supports(
            DECISIVE,
            f"clipping ran before unscale_ with a loss scale of {scale:.3g}: the norm that reached the step is "
            f"{left:.2g} (max_norm / scale)",
            tool="gradient_debugger",
            step=max(1, fact.step),
            where=case.place(fact),
            loss_scale=float(scale),
            grad_norm=left,
        )
        if not case.learned:
            yield symptom(
                MODERATE, f"the loss hardly falls ({case.loss.first:.3g} to {case.loss.last:.3g})", loss=case.loss.last
            )
        return


CAUSE = Cause(
    id="amp.clip_before_unscale",
    title="Gradients are clipped before they are unscaled, which shrinks them by the loss scale",
    phase="backward",
    repair="Call scaler.unscale_(optimizer) before clip_grad_norm_.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there the norm at the step is not cut"},
    explains=("optimizer.lr_too_low", "numerics.vanishing_gradient", "eval.underfit_stopped_early"),
    intervention="unscale before clipping",
    next_measurement="gradient norm before and after clipping",
    source="pytorch/examples#1196",
)
