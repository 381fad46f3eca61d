"""Gradient flow over depth, and the loop's bookkeeping of gradients: clearing, carrying over, clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aitia.engine.records import Record
from aitia.engine.store.reader import Run
from aitia.tools.result import Ledger, number_of, percent, text_of
from aitia.tools.series import TINY, ends, median
from aitia.tools.trust import safe_name

MIN_DEPTH: Final = 3
"""Two layers make no trend."""
STEEP: Final = 3.0
"""Gradients that change by more than this factor per layer vanish or explode within ten layers."""
OFTEN: Final = 0.5
"""Share of steps from which on something is the rule and not an accident."""
MAX_POINTS: Final = 12
"""Layers told of a deep model's flow."""


class DepthFlow(Record):
    """Gradient size from the first layer to the last: RMS of each weight's recent gradient."""

    layers: tuple[str, ...] = ()
    rms: tuple[float | None, ...] = ()
    first_over_last: float | None = None
    factor_per_layer: float | None = None
    """Geometric mean of the change from a layer to the one before it; 1 is ideal."""
    evidence: str | None = None


@dataclass(frozen=True)
class LoopFacts:
    """What the loop does with gradients: sentences for the summary, and fields of the report."""

    warnings: list[str]
    numbers: Mapping[str, Any]


def flow_of(run: Run, rms: Mapping[int, float], ledger: Ledger) -> DepthFlow | None:
    """The flow over the weights (not biases) of the model with most of them, in order of registration."""
    weights = [
        p for p in run.parameters if p.in_model and len(p.shape) > 1 and math.isfinite(rms.get(p.index, math.nan))
    ]
    if len(weights) < MIN_DEPTH:
        return None
    values = [rms[p.index] for p in weights]
    names = [safe_name(p.name, p.index, "parameter") for p in weights]
    ratio = values[0] / max(values[-1], TINY)
    factor = ratio ** (1 / (len(values) - 1)) if ratio > 0 else None
    cited = None
    if factor is not None and not 1 / STEEP <= factor <= STEEP:
        word = "weaker" if factor < 1 else "stronger"
        cited = ledger.add(
            f"From {names[-1]} back to {names[0]} the gradient gets {word} by a factor of "
            f"{text_of(max(factor, 1 / factor))} per layer.",
            factor_per_layer=factor,
            first_over_last=ratio,
        )
    pick = np.unique(np.linspace(0, len(values) - 1, min(MAX_POINTS, len(values))).astype(int))
    return DepthFlow(
        layers=tuple(names[i] for i in pick),
        rms=tuple(number_of(values[i]) for i in pick),
        first_over_last=number_of(ratio),
        factor_per_layer=number_of(factor),
        evidence=cited,
    )


def loop_facts(run: Run, ledger: Ledger) -> LoopFacts:
    """Global norm, carried gradients, clipping and clearing."""
    table = run.table("step")
    warnings: list[str] = []
    if not len(table["step"]):
        backwards = len(run.table("backward")["step"])
        if backwards:
            ledger.add(
                f"Backward ran {backwards} times, but no optimizer ever stepped.", n_backward=backwards, n_steps=0
            )
            warnings.append(f"Backward ran {backwards} times, but no optimizer ever stepped.")
        return LoopFacts(warnings, {})
    norm, carried, fresh = table["grad_norm"], table["carried_grad_norm"], table["fresh_grad_norm"]
    share = float(np.mean(carried[1:] > 0)) if np.isfinite(carried[1:]).any() else math.nan
    zero = float(np.nanmean(table["n_zero_grad"])) if np.isfinite(table["n_zero_grad"]).any() else math.nan
    if share > OFTEN:
        excess = median(ends(norm / np.maximum(fresh, TINY))[1])
        text = (
            f"In {percent(share)} of the steps gradients of an earlier step were still there; "
            f"zero_grad ran {text_of(zero)} times per step"
        )
        text += f"; the norm that was used is {text_of(excess)} times the fresh one." if math.isfinite(excess) else "."
        ledger.add(text, carried_share=share, zero_grad_per_step=zero, used_over_fresh=excess)
        warnings.append(f"Gradients are carried over in {percent(share)} of the steps.")
    clipped = _clipping(run, ledger, warnings)
    first, last = ends(norm)
    return LoopFacts(warnings, {
        "global_grad_norm": number_of(median(last)),
        "global_grad_norm_first": number_of(median(first)),
        "update_ratio": number_of(median(ends(table["update_ratio"])[1])),
        "carried_share": number_of(share),
        "clipped_share": number_of(clipped),
        "zero_grad_per_step": number_of(zero),
        "learning_rate": number_of(median(ends(table["lr"])[1])),
    })  # fmt: skip


def _clipping(run: Run, ledger: Ledger, warnings: list[str]) -> float:
    """Share of clipped steps (NaN: no clipping); a misplaced clip becomes evidence."""
    table = run.table("step")
    used = table["n_clip"] > 0
    for fact in run.facts("clip"):
        for key, words in (("before_backward", "before backward, so it has no effect"),
                           ("before_unscale", "on gradients that are still multiplied by the loss scale")):  # fmt: skip
            if fact.data.get(key) is True:
                ledger.add(f"Clipping runs {words} (first seen at step {fact.step}).", step=fact.step, place=key)
                warnings.append(f"Clipping runs {words}.")
                break
    if not used.any():
        return math.nan
    shortened = (table["clip_norm"] > table["clip_max"])[used]
    share = float(np.mean(shortened))
    ledger.add(
        f"Clipping runs in {percent(float(np.mean(used)))} of the steps and takes effect in {percent(share)} of those.",
        clipped_share=share,
        clip_norm=median(table["clip_norm"]),
        clip_max=median(table["clip_max"]),
    )
    return share
