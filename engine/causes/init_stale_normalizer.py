"""A normaliser that sets itself by the first batch it sees met another batch before the training data.

Seen as: the model ran before its first training batch, on input of quite another spread (zeros, a dummy), and a layer
without a matrix of weights, which should bring its input to spread one, blows it up or down by orders of magnitude.
Healthy twins: a dummy pass through layers that keep no statistics; a normaliser that first met real data.
Source: pytorch/pytorch#51800; Kingma and Dhariwal, Glow, 2018, section 3.1 (activation normalisation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom
from aitia.engine.records import LayerInfo

FAR = 10.0
"""A normaliser that met the data leaves their spread near one; ten times off is no rounding of a batch."""
EARLY = 8
"""Steps after which other layers have changed what reaches the normaliser."""


def weigh(case: Case) -> Iterator[Weight]:
    """Spread of what a model was shown first against that of its training batches, and what its normalisers make of it."""
    rows = case.run.table("batch")
    for root in sorted({int(r) for r in rows["root"]}):
        mine = rows["root"] == root
        spread, size, step = rows["in_std"][mine], rows["n"][mine], rows["step"][mine]
        usual = nanmedian(size[(step > 1) & (rows["grad"][mine] == 1)])
        if not len(spread) or not math.isfinite(usual) or step[0] > 1 or size[0] == usual:
            continue
        trained = np.flatnonzero((rows["grad"][mine] == 1) & (size == usual))
        if not len(trained) or not len(case.param_steps):
            continue
        shown, later = float(spread[0]), float(spread[trained[0]])
        if not later > 0 or (shown > 0 and 1 / FAR < later / shown < FAR):
            continue
        for layer in case.leaves:
            factor, out = _factor(case, layer)
            if factor is None or 1 / FAR < factor < FAR or 1 / FAR < out < FAR:
                continue
            yield supports(
                DECISIVE + MODERATE,
                f"before training the model ran on a batch of spread {shown:.3g}, where training batches have {later:.3g}; "
                f"{layer.name}, which has no weights but a scale, multiplies the spread of its input by {factor:.3g} and puts "
                f"out {out:.3g}: it was set by the first",
                tool="layer_analyzer",
                subject=layer.name,
                step=1,
                shown=shown,
                trained=later,
                factor=factor,
            )
            if not case.learned:
                yield symptom(MODERATE, f"the loss begins at {case.loss.start:.3g} and ends at {case.loss.last:.3g}")
            return


def _factor(case: Case, layer: LayerInfo) -> tuple[float | None, float]:
    """By how much a layer without matrices changes the spread of its input in the first steps, and what comes out."""
    shapes = [p.shape for p in case.run.parameters if p.name in layer.parameters]
    if layer.kind != "other" or any(max(s, default=1) < math.prod(s) for s in shapes):
        return None, math.nan
    into, out = case.layer_series(layer, "in_std")[:EARLY], case.layer_series(layer, "out_std")[:EARLY]
    before, after = nanmedian(into), nanmedian(out)
    return (after / before, after) if before > 0 and math.isfinite(after) else (None, math.nan)


CAUSE = Cause(
    id="init.stale_normalizer",
    title="A normaliser took its scale from a batch that was not of the training data",
    phase="setup",
    repair="Run the first forward pass on a real training batch (or reset the normaliser after a dry run).",
    weigh=weigh,
    mistaken_for={
        "data.unscaled_input": "there the data themselves are large, here a layer makes them so",
        "init.wrong_scale": "there matrices of weights are too large",
    },
    explains=(
        "data.unscaled_input",
        "data.unscaled_target",
        "init.wrong_scale",
        "model.saturated_units",
        "model.dead_units",
        "optimizer.lr_too_high",
        "optimizer.lr_too_low",
        "numerics.exploding_gradient",
        "numerics.vanishing_gradient",
    ),
    intervention="train on without the dry run",
    next_measurement="spread before and after every normaliser at the first training batch",
    source="pytorch/pytorch#51800",
)
