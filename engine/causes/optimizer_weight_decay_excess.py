"""Weight decay stronger than the gradient: the weights shrink towards zero and the loss towards that of guessing.

Source: DeepCrime RAW; TheDeepChecker over-regularization.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.store.reader import Array

SHORT = 50.0
"""Steps of memory below which decay outruns learning; usual settings (rate 1e-3, decay 0.01 to 0.1) give 1e4 or more."""

USUAL = 0.1
"""The upper end of usual decays (AdamW: 0.01); what one of those outruns is a rate that is far too high."""


def weigh(case: Case) -> Iterator[Weight]:
    """Decay integrated over the run, and the weight norms that followed it."""
    table = case.run.table("group")
    decay = table["weight_decay"]
    active = np.isfinite(decay) & (decay > 0)
    if not active.any() or case.n_steps < 20:
        return
    shrunk = []
    for p in case.weights:
        series = case.column("weight_norm", p.index)
        series = series[np.isfinite(series)]
        if len(series) >= 5 and series[0] > 0:
            shrunk.append(float(series[-1] / series[0]))
    if not shrunk:
        return
    kept = nanmedian(shrunk)
    strength = float(np.median(decay[active]))
    fell = case.learned and case.loss.fall > 0.25
    memory = _memory(case, table)
    if memory < SHORT and strength <= USUAL:
        return
    if kept < 0.5:
        yield supports(
            DECISIVE if not fell else MODERATE,
            f"weight decay {strength:.3g} shrank the weights to {100 * kept:.0f} % of their initial norm (median over layers)",
            tool="gradient_debugger",
            step=1,
            where=case.optimizer_place(),
            weight_decay=strength,
            kept=kept,
        )
        if fell:
            yield against(STRONG, "the loss fell clearly all the same", fall=case.loss.fall)
    if kept >= 0.5 and memory < SHORT and not fell and case.n_steps > 4 * memory:
        yield supports(
            DECISIVE,
            f"rate times decoupled decay takes away a share of 1/{memory:.0f} of every weight in each step: what was learned more "
            f"than {memory:.0f} steps ago is gone",
            tool="gradient_debugger",
            step=1,
            where=case.optimizer_place(),
            weight_decay=strength,
            memory_steps=memory,
        )
    n = case.n_classes
    if kept < 0.5 and n and n > 1 and abs(case.loss.last - math.log(n)) < 0.1 * math.log(n):
        yield symptom(MODERATE, f"the loss ends at ln({n}) = {math.log(n):.2f}: guessing", loss=case.loss.last)


def _memory(case: Case, table: dict[str, Array]) -> float:
    """Steps after which decoupled decay alone leaves 1/e of a weight; infinite where the decay goes through the gradient."""
    decoupled = {
        o.index
        for o in case.run.optimizers
        if "AdamW" in o.cls or any(g.get("decoupled_weight_decay") for g in o.groups)
    }
    mine = np.isin(table["optimizer"].astype(int), list(decoupled)) & (table["weight_decay"] > 0)
    shrink = nanmedian((table["lr"] * table["weight_decay"])[mine]) if mine.any() else 0.0
    return 1.0 / shrink if shrink > 0 else math.inf


CAUSE = Cause(
    id="optimizer.weight_decay_excess",
    title="Weight decay is so strong that it shrinks the weights faster than the gradient can build them",
    phase="step",
    repair="Lower weight_decay (0.01 or less for AdamW, 1e-4 for SGD) and leave biases and norms out of it.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there the weights keep their norm"},
    explains=("eval.underfit_stopped_early", "numerics.vanishing_gradient", "optimizer.lr_too_high"),
    intervention="weight_decay = 0",
    interventions=("no_weight_decay",),
    next_measurement="weight norms over steps with weight_decay = 0",
    source="DeepCrime RAW",
)
