"""Raw features: pixel values to 255, or columns in units that differ by thousands.

Source: SO 50762466, 47318871, 53914450.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom

LARGE = 20.0
"""Initial weights are made for inputs of size 1; twenty times that saturates or blows up the first layer."""
UNEVEN = 1e3
"""Columns whose spreads differ a thousandfold: the small ones do not reach the first layer."""


def weigh(case: Case) -> Iterator[Weight]:
    """Size of the first float input at step 1, and of the first layer's output."""
    rows = case.run.table("batch")
    tracked = rows["grad"] == 1
    if tracked.sum() < 2:
        return
    model = case.run.fact("model_seen")
    dtype = str((model.data if model else {}).get("input_dtype", "float"))
    embeds = any(x.kind == "embedding" for x in case.run.layers)
    if "int" in dtype or embeds:
        return
    spread = nanmedian(rows["in_std"][tracked])
    size = nanmedian(np.maximum(np.abs(rows["in_min"][tracked]), np.abs(rows["in_max"][tracked])))
    uneven = max((float(f.data.get("feature_std_ratio") or 0) for f in case.run.facts("model_seen")), default=0.0)
    first = next((x for x in case.leaves if x.kind in {"linear", "conv", "rnn"}), None)
    norm_first = next((x for x in case.leaves if x.kind not in {"dropout", "shape", "other"}), None)
    if norm_first is not None and norm_first.kind == "norm":
        return  # the model standardises its own input
    if not spread > LARGE and not (uneven > UNEVEN and size > LARGE):
        return
    suffers = not case.learned or case.diverged or case.nonfinite_step is not None or _slow(case)
    out = (
        float(case.layer_series(first, "out_absmax")[0])
        if first is not None and len(case.layer_stat("out_absmax"))
        else math.nan
    )
    yield supports(
        DECISIVE if suffers else MODERATE,
        f"the model's input reaches {size:.4g} (standard deviation {spread:.3g})"
        + (f", feature spreads differ by {uneven:.0f} times" if uneven > UNEVEN else "")
        + (
            f"; {first.name} puts out values up to {out:.3g} at the first step"
            if first is not None and math.isfinite(out)
            else ""
        ),
        tool="layer_analyzer",
        subject=first.name if first else None,
        step=1,
        in_std=spread,
        in_absmax=size,
        first_output=out,
    )
    if suffers:
        yield symptom(
            WEAK,
            f"the first loss is {case.loss.first:.3g} and the last {case.loss.last:.3g}",
            loss_first=case.loss.first,
            loss_last=case.loss.last,
        )
    elif case.learned:
        yield against(STRONG, "the loss falls well all the same", fall=case.loss.fall)


def _slow(case: Case) -> bool:
    n = case.n_classes
    return bool(n and n > 1 and case.loss.n and case.loss.first > 4 * math.log(n))


CAUSE = Cause(
    id="data.unscaled_input",
    title="The input is not scaled: its values are far larger than the first layer is made for",
    phase="data",
    repair="Standardise the features (subtract the mean, divide by the standard deviation of the training set; pixels / 255).",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the first layer's output is moderate at step 1",
        "init.wrong_scale": "there the input is moderate and the weights are not",
    },
    explains=(
        "optimizer.lr_too_high",
        "model.dead_units",
        "model.saturated_units",
        "numerics.exploding_gradient",
        "numerics.exp_overflow",
        "numerics.log_zero",
        "numerics.vanishing_gradient",
        "init.wrong_scale",
        "eval.underfit_stopped_early",
    ),
    intervention="standardise the inputs",
    interventions=("standardise_inputs",),
    next_measurement="mean and standard deviation of every feature",
    source="SO 50762466",
)
