"""Squashing units stuck at their ends, where the slope is nearly zero.

Source: AutoTrainer; DeepFD #12.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

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
    if case.flat:
        yield symptom(
            MODERATE + WEAK,
            f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})",
            loss=case.loss.last,
        )


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
