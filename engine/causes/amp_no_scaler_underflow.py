"""float16 gradients without a loss scale: many entries are exactly zero.

Source: karpathy/nanoGPT#167; warner-benjamin/optimi PR 15.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom
from aitia.engine.records import ParameterInfo

MUCH = 0.3
"""Share of a gradient that is 0 without a reason from which on learning suffers: the largest entries are always left."""


def _unexplained(case: Case, p: ParameterInfo) -> float:
    """Share of exact zeros among the entries of a gradient whose input and output were not zero for all samples."""
    share = case.median("grad_zero_share", p)
    at = next((i for i, layer in enumerate(case.leaves) if p.name in layer.parameters), None)
    if at is None:
        return share
    unfed = nanmedian(case.layer_series(case.leaves[at], "in_dead_share"))
    following = case.leaves[at + 1] if at + 1 < len(case.leaves) else None
    dead = (
        nanmedian(case.layer_series(following, "out_dead_share"))
        if following and following.kind == "activation"
        else 0.0
    )
    alive = (1 - np.nan_to_num(unfed)) * (1 - np.nan_to_num(dead))
    return float(max(0.0, 1 - (1 - share) / alive)) if alive > 0 else 0.0


def weigh(case: Case) -> Iterator[Weight]:
    """float16 in the forward or the parameters, no scaler, and gradients that are zero where they should be small."""
    half = any(str(f.data.get("dtype")) in {"float16", "torch.float16"} for f in case.run.facts("autocast"))
    half |= any(p.dtype == "float16" for p in case.trainable)
    scaled = any(
        f.data.get("event") == "update" or float(f.data.get("scale") or 1) > 1 for f in case.run.facts("scaler")
    )
    if not half or scaled or case.n_steps < 5:
        return
    shares = [(_unexplained(case, p), p) for p in case.weights if p.optimizers]
    shares = [(s, p) for s, p in shares if np.isfinite(s)]
    if not shares:
        return
    worst, which = max(shares, key=lambda item: item[0])
    if worst < MUCH:
        return
    yield supports(
        DECISIVE if not case.learned else STRONG,
        f"{100 * worst:.0f} % of the gradient of {which.name} is exactly 0 under float16 where inputs and outputs are not, and no "
        "GradScaler is used",
        tool="gradient_debugger",
        subject=case.owner(which.name),
        step=1,
        zero_share=worst,
    )
    if nanmedian([s for s, _ in shares[: len(shares) // 2]]) > nanmedian([s for s, _ in shares[len(shares) // 2 :]]):
        yield symptom(MODERATE, "the share grows towards the first layers")


CAUSE = Cause(
    id="amp.no_scaler_underflow",
    title="float16 gradients underflow to zero because the loss is not scaled",
    phase="backward",
    repair="Use torch.amp.GradScaler with float16, or bfloat16 without one.",
    weigh=weigh,
    mistaken_for={"model.dead_units": "there activations are zero too"},
    explains=("numerics.vanishing_gradient", "optimizer.lr_too_low", "model.dead_units", "eval.underfit_stopped_early"),
    intervention="scale the loss by 2^16",
    interventions=("single_precision",),
    next_measurement="zero share of the gradients in fp32",
    source="karpathy/nanoGPT#167",
)
