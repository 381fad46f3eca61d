"""Squashing units stuck at their ends, where the slope is nearly zero.

Source: AutoTrainer; DeepFD #12.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import LayerInfo

SQUASHING = ("Sigmoid", "Tanh", "Hardsigmoid", "Hardtanh", "Softsign")


def weigh(case: Case) -> Iterator[Weight]:
    """Share of outputs beyond 0.99 of the range, at hidden squashing layers or where they feed the next layer."""
    if not len(case.layer_stat("out_sat_share")) or case.learned:
        return
    shares: dict[str, tuple[float, int]] = {}
    fed = [x for x in case.leaves if x.kind in {"linear", "conv"}][1:]
    for layer, stat in [(x, "out_sat_share") for x in case.leaves if x.cls in SQUASHING] + [
        (x, "in_sat_share") for x in fed
    ]:
        series = case.layer_series(layer, stat)
        if stat == "in_sat_share":
            series = np.fmax(series, _at_both_ends(case, layer))
        ok = np.isfinite(series)
        if ok.sum() < 3:
            continue
        share = float(np.median(series[ok][-max(3, int(ok.sum()) // 4) :]))
        onset = int(case.run.wide("layer").steps[ok][np.argmax(series[ok] >= 0.9 * share)])
        shares[layer.name] = (share, onset)
    last = next((x.name for x in reversed(case.leaves) if x.cls in SQUASHING), None)
    hidden = {k: v for k, v in shares.items() if k != last or len(shares) == 1}
    if not hidden:
        return
    name, (share, onset) = max(hidden.items(), key=lambda item: item[1][0])
    if share < 0.6:
        return
    yield supports(
        STRONG,
        f"{100 * share:.0f} % of the values at {name} are at the ends of its range, since step {onset}",
        tool="layer_analyzer",
        subject=name,
        step=onset,
        saturated_share=share,
        onset=onset,
    )
    if onset <= 2 and not case.overshoots:
        yield symptom(MODERATE, "they are there from the first step on, so no update drove them there")
    if case.flat:
        yield symptom(
            MODERATE + WEAK,
            f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})",
            loss=case.loss.last,
        )


def _at_both_ends(case: Case, layer: LayerInfo) -> Floats:
    """Share of values at 0 or 1, from mean and spread: of numbers in [0, 1] only those at the ends spread that far.

    Only behind a sigmoid that passes gradients: numbers that are rounded, or 0 and 1 by nature, saturate nothing.
    """
    inside = np.isfinite(case.layer_series(layer, "in_sat_share"))
    mean, std = case.layer_series(layer, "in_mean"), case.layer_series(layer, "in_std")
    most = mean * (1.0 - mean)
    squashed = any("SigmoidBackward0" in (f.data.get("op_counts") or {}) for f in case.run.facts("graph"))
    known = inside & (most > 0.01) & (std**2 <= 1.05 * most) & squashed
    lacks = 1.0 - std**2 / np.where(known, most, 1.0)
    return np.where(known, np.clip(1.0 - lacks / EVEN, 0.0, 1.0), np.nan)


EVEN = 2 / 3
"""Values spread evenly over [0, 1] lack two thirds of the variance that values at its ends have."""


CAUSE = Cause(
    id="model.saturated_units",
    title="Sigmoid or tanh units are stuck at the ends of their range and pass no gradient",
    phase="forward",
    repair="Use ReLU-like activations, normalisation, or a smaller initialisation.",
    weigh=weigh,
    mistaken_for={
        "data.unscaled_input": "then the input itself is large",
        "init.wrong_scale": "then weights are large at step 0",
        "optimizer.lr_too_high": "then units saturate after large updates",
    },
    explains=("numerics.vanishing_gradient", "optimizer.lr_too_low"),
    intervention="replace the activation",
    next_measurement="pre-activations per layer at step 0",
    source="AutoTrainer (Zhang et al., ICSE 2021)",
)
