"""Initial weights too large or too small: activations grow or shrink by a constant factor per layer.

Source: SO 61498304, 56541683; Karpathy ("verify loss @ init").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.records import LayerInfo

THIN = 0.2
"""Root of the summed squares of a unit's weights, the factor for independent inputs: torch's default has 0.58."""
LEFT = 0.01
"""Share of the first layer's differences between samples that is left before the output."""
FEW = 3
"""Layers that together take away what none of them takes alone."""


def weigh(case: Case) -> Iterator[Weight]:
    """Standard deviation of layer outputs at the first step, layer by layer, against that of the input."""
    stds = case.layer_stat("out_std")
    if not len(stds):
        return
    layers = [x for x in case.leaves if x.kind in {"linear", "conv"} and x.index < stds.shape[1]]
    first = [(x, float(stds[0, x.index])) for x in layers if math.isfinite(stds[0, x.index])]
    into = case.layer_stat("in_std")
    gains = []
    for x, out in first:
        before = float(into[0, x.index])
        if before > 0 and math.isfinite(before):
            gains.append((x, out / before, before, out))
    if not gains:
        return
    fading = _fading(case, layers)
    low, high = min(gains, key=lambda g: g[1]), max(gains, key=lambda g: g[1])
    big = high[1] > 10.0
    if fading is not None and fading[1] < low[1] and fading[1] < 0.02:
        low = fading
    small = low[1] < 0.02 and low[0] is not layers[-1]
    suffers = not case.learned or case.diverged or case.nonfinite_step is not None
    n = case.n_classes
    expected = math.log(n) if n and n > 1 else math.nan
    hot = bool(math.isfinite(expected) and case.per_backward.n and float(case.per_backward.values[0]) > 4 * expected)
    if not (big and (hot or suffers)) and not (small and suffers):
        if suffers:
            yield from _thin(case, layers)
        return
    layer, gain, before, out = high if big else low
    word = "multiplies" if big else "shrinks"
    yield supports(
        DECISIVE if suffers or hot else MODERATE,
        f"at the first step {layer.name} {word} the standard deviation by {gain:.3g} ({before:.3g} in, {out:.3g} out)",
        tool="layer_analyzer",
        subject=layer.name,
        step=1,
        gain=gain,
        in_std=before,
        out_std=out,
    )
    if hot:
        yield symptom(
            STRONG,
            f"the first loss is {float(case.per_backward.values[0]):.3g} where guessing among {n} classes gives "
            f"{expected:.2f}",
            loss=float(case.per_backward.values[0]),
            expected=expected,
        )
    elif small and np.isfinite(case.loss.first):
        yield symptom(MODERATE, f"the loss stays at {case.loss.last:.3g}", loss=case.loss.last)
    if case.learned and not hot and not case.diverged:
        yield against(STRONG, "the loss falls well all the same", fall=case.loss.fall)


def _thin(case: Case, layers: list[LayerInfo]) -> Iterator[Weight]:
    """Hidden layers that each take a little: by their weights, and by what is left of the differences between samples."""
    spread = case.layer_stat("out_sample_std")
    seen = [float(spread[0, x.index]) for x in layers if spread[0, x.index] > 0]
    hidden = {x.name for x in layers[:-1]}
    gains = []
    for p in case.weights:
        norms = case.column("weight_norm", p.index)
        if p.layer in hidden and np.isfinite(norms).any():
            gains.append(float(norms[np.isfinite(norms)][0]) / math.sqrt(p.shape[0]))
    if len(gains) < FEW or len(seen) < FEW or not np.median(gains) < THIN or not seen[-1] < LEFT * seen[0]:
        return
    yield supports(
        DECISIVE,
        f"the weights of the {len(gains)} hidden layers pass on {np.median(gains):.2g} of the spread of their inputs each, where "
        f"torch's default passes on 0.58: of what tells samples apart {seen[-1] / seen[0]:.1e} is left at the end",
        tool="layer_analyzer",
        subject=layers[0].name,
        step=1,
        gain=float(np.median(gains)),
        left=seen[-1] / seen[0],
    )


def _fading(case: Case, layers: list[LayerInfo]) -> tuple[LayerInfo, float, float, float] | None:
    """The hidden layer that leaves least of what tells samples apart: biases may hide that its output shrinks."""
    spread = case.layer_stat("out_sample_std")
    seen = [(x, float(spread[0, x.index])) for x in layers if spread[0, x.index] > 0]
    steps = [(x, now / before, before, now) for (_, before), (x, now) in pairwise(seen) if x is not layers[-1]]
    return min(steps, key=lambda s: s[1], default=None)


CAUSE = Cause(
    id="init.wrong_scale",
    title="The initial weights have the wrong scale: activations explode or vanish from the first step",
    phase="setup",
    repair="Use Kaiming (ReLU) or Xavier (tanh) initialisation, or leave torch's default.",
    weigh=weigh,
    mistaken_for={
        "data.unscaled_input": "there the input itself is large",
        "optimizer.lr_too_high": "there the first forward is fine",
    },
    explains=(
        "model.saturated_units",
        "model.dead_units",
        "numerics.vanishing_gradient",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "numerics.exp_overflow",
        "optimizer.lr_too_low",
        "numerics.log_zero",
        "eval.underfit_stopped_early",
    ),
    intervention="re-initialise with torch's default",
    interventions=("reinitialise",),
    next_measurement="standard deviation per layer at step 0",
    source="Karpathy, A Recipe for Training Neural Networks",
)
