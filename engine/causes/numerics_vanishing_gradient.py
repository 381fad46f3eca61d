"""The gradient shrinks by a constant factor per layer on its way back, from the first step on.

Source: AutoTrainer; DEFault.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

VANISHED = 1e-4
"""First layer's gradient per weight against the last layer's; healthy nets stay within two orders of magnitude."""


def weigh(case: Case) -> Iterator[Weight]:
    """Gradient norm per root of the number of weights, along the depth."""
    if case.learned:
        return
    sizes = []
    for p in case.weights:
        if not p.optimizers:
            continue
        norm = case.median("grad_norm", p)
        if np.isfinite(norm) and norm > 0:
            sizes.append((p, norm / np.sqrt(float(np.prod(p.shape)))))
    if len(sizes) < 4:
        return
    first, last = nanmedian([s for _, s in sizes[:2]]), nanmedian([s for _, s in sizes[-2:]])
    ratio = first / last if last > 0 else 1.0
    if ratio > VANISHED:
        return
    logs = np.log10([s for _, s in sizes])
    slope = float(np.polyfit(np.arange(len(logs)), logs, 1)[0])
    early = case.column("grad_norm", sizes[0][0].index)
    start = early[np.isfinite(early)][:1]
    yield supports(
        DECISIVE if slope > 0.2 else MODERATE,
        f"the gradient per weight is {ratio:.1e} times as large at {sizes[0][0].name} as at {sizes[-1][0].name}: it shrinks "
        f"{10**slope:.1f}-fold per layer",
        tool="gradient_debugger",
        subject=case.owner(sizes[0][0].name),
        step=1,
        ratio=ratio,
        per_layer=10**slope,
        first_layer_norm=float(start[0]) if len(start) else None,
    )
    if case.flat:
        yield symptom(
            MODERATE, f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})", loss=case.loss.last
        )


CAUSE = Cause(
    id="numerics.vanishing_gradient",
    title="Gradients vanish on their way to the first layers",
    phase="backward",
    repair="Use ReLU-like activations, normalisation, residual connections or fewer layers.",
    weigh=weigh,
    mistaken_for={
        "init.wrong_scale": "then re-initialising cures it",
        "model.dead_units": "then gradients are exactly 0",
        "optimizer.lr_too_low": "then all layers have healthy gradients",
    },
    explains=("eval.underfit_stopped_early", "optimizer.lr_too_low", "model.capacity_bottleneck"),
    intervention="replace the activations by ReLU",
    next_measurement="gradient norm per layer at step 1",
    source="AutoTrainer (Zhang et al., ICSE 2021)",
)
