"""The last activation cannot reach the targets.

Source: SO 48251943, 48221692.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from aitia.engine.case import Case, Floats, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom
from aitia.engine.records import LossSite

EDGE = 1e-3
"""Rounding at the ends of a range."""
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
PINNED = 0.6
"""Share of the calls in which the same extreme number is no coincidence."""
FEWEST = 12
"""Values whose last quarter says how it ended."""
NEAR = 4
"""Operations between a term and the output that it is made of: a difference, a square, a change of shape."""
NEARLY = 0.1
"""Output, as a share of the error that is left, that counts as none."""
CLOSED = 0.8
"""Of the outputs, as many as `model.dead_units` asks for."""
BOUNDS = {
    "Sigmoid": (0.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Hardtanh": (-1.0, 1.0),
    "ReLU": (0.0, float("inf")),
    "Softplus": (0.0, float("inf")),
    "ReLU6": (0.0, 6.0),
}


def weigh(case: Case) -> Iterator[Weight]:
    """Range of the predictions over the run against the range of the targets; or a rectified output that died."""
    yield from _closed(case)
    for site in case.run.losses:
        if site.function not in REGRESSION:
            continue
        rows = case.calls(grad=True, site=site.index)
        if len(rows["step"]) < 5:
            continue
        low, high = float(min(rows["in_min"])), nanmax(rows["in_max"])
        want_low, want_high = nanmedian(rows["target_min"]), nanmedian(rows["target_max"])
        last = case.leaves[-1] if case.leaves else None
        bounds = BOUNDS.get(last.cls) if last is not None else None
        by = _made_by(case, site)
        if bounds is None or not any(by.lower().startswith(name.lower()) for name in BOUNDS):
            bounds = bounds if not by else None
            for name, pair in BOUNDS.items():
                if by.lower().startswith(f"{name.lower()}backward"):
                    bounds = pair
            if by.startswith("Clamp"):
                bounds = _clamped(rows)
        if bounds is None or low < bounds[0] - EDGE or high > bounds[1] + EDGE:
            continue
        span = max(want_high - want_low, 1e-9)
        below, above = max(0.0, bounds[0] - want_low) / span, max(0.0, want_high - bounds[1]) / span
        if max(below, above) < 0.15:
            continue
        pinned = (
            (low <= bounds[0] + 1e-3 * span) if below >= above else (high >= bounds[1] - 0.05 * (bounds[1] - bounds[0]))
        )
        yield supports(
            DECISIVE,
            f"the output cannot leave [{bounds[0]:.3g}, {bounds[1]:.3g}] but targets reach from {want_low:.3g} to "
            f"{want_high:.3g}",
            tool="layer_analyzer",
            subject=last.name if last else None,
            step=1,
            where=case.site_place(site.index),
            low=low,
            high=high,
            target_min=want_low,
            target_max=want_high,
        )
        if pinned:
            yield symptom(MODERATE, f"predictions press against that end ([{low:.3g}, {high:.3g}])", low=low, high=high)
        return
    yield from _by_hand(case)


def _closed(case: Case) -> Iterator[Weight]:
    """The rectifier that is zero for every sample makes the output itself: whatever is wanted, nothing can change it."""
    dead = case.dead
    if dead is None or dead.share < CLOSED or case.learned:
        return
    last = case.leaves[-1]
    sites = {int(s) for s in case.calls(grad=True)["site"]}
    made = [_made_by(case, site).lower() for site in case.run.losses if site.index in sites]
    rectified = all("relu" in by for by in made) if made else _rectified_by_hand(case)
    if dead.layer != last.name or last.kind != "activation" or not rectified:
        return
    yield supports(
        DECISIVE,
        f"the output of the model is what {last.name} ({last.cls}) lets through, and {100 * dead.share:.0f} % of it are 0 for every "
        "sample: a rectified output that is closed gets no gradient any more",
        tool="layer_analyzer",
        subject=last.name,
        step=dead.onset,
        dead_share=dead.share,
    )


def _rectified_by_hand(case: Case) -> bool:
    """Whether every term that no loss function made begins its way back at a rectifier."""
    told = [t.get("below") or [] for f in case.run.facts("graph") for t in f.data.get("terms") or []]
    return bool(told) and all(any(op.startswith("Relu") for op in below[:NEAR]) for below in told)


def _clamped(rows: Mapping[str, Floats]) -> tuple[float, float]:
    """The ends of a clamp: a lowest or highest prediction that is the very same number in most calls."""
    low, high = float(np.min(rows["in_min"])), float(np.max(rows["in_max"]))
    return (
        low if (rows["in_min"] == low).mean() > PINNED else -math.inf,
        high if (rows["in_max"] == high).mean() > PINNED else math.inf,
    )


def _made_by(case: Case, site: LossSite) -> str:
    """The operation right before the loss, shapes aside; empty where it is not known."""
    for fact in case.run.facts("graph"):
        for term in fact.data.get("terms") or []:
            if int(term.get("site", -1)) == site.index:
                chain = (fact.data.get("chains") or {}).get(str(term.get("op", "")).rpartition("::")[2]) or []
                if chain:
                    return str(chain[0])
    same = (f for f in case.train_loss_calls if case.site_of(f) == site.index)
    return str(next((f.data.get("input_by") for f in same), "") or "")


def _by_hand(case: Case) -> Iterator[Weight]:
    """A mean square written by hand: an output within [0, 1] is never further than 1 from a target within [0, 1]."""
    yield from _pressed(case)
    values = case.per_backward.values
    values = values[np.isfinite(values)]
    told = [t for f in case.run.facts("graph") for t in f.data.get("terms") or []]
    if len(told) < 1 or len(values) < 10 or len(case.run.optimizers) > 1:
        return
    for name, (low, high) in BOUNDS.items():
        chain = ["Square", "SubBackward0", f"{name}Backward0"]
        if not math.isfinite(high) or any((t.get("below") or [])[:3] != chain for t in told):
            continue
        if any(abs(float(t.get("weight", 1.0))) > 1.0 for t in told):
            continue
        most, ended = (high - low) ** 2, nanmedian(values[-max(5, len(values) // 4) :])
        if ended > most:
            yield supports(
                DECISIVE,
                f"the output cannot leave [{low:.3g}, {high:.3g}], and the mean square error ended at {ended:.3g}: with "
                f"targets in that range it could not exceed {most:.3g}",
                tool="layer_analyzer",
                step=1,
                where=case.loss_place,
                ended=ended,
            )
            return


def _pressed(case: Case) -> Iterator[Weight]:
    """A mean square around a rectifier whose output is nearly 0 at the end, while the error is not: it is wanted below 0."""
    told = [t for f in case.run.facts("graph") for t in f.data.get("terms") or []]
    chain = ["Square", "SubBackward0", "ReluBackward0"]
    if not told or any((t.get("below") or [])[:3] != chain or abs(float(t.get("weight", 2.0))) > 1.0 for t in told):
        return
    rows, values = case.run.table("batch"), case.per_backward.values
    made = rows["out_mean"][rows["grad"] == 1]
    made, values = made[np.isfinite(made)], values[np.isfinite(values)]
    if len(made) < FEWEST or len(values) < FEWEST or case.learned:
        return
    output, left = nanmedian(made[-len(made) // 4 :]), math.sqrt(max(nanmedian(values[-len(values) // 4 :]), 0.0))
    if output < NEARLY * left:
        yield supports(
            DECISIVE,
            f"the output is rectified and ended at {output:.2g} on average, with an error of {left:.2g} (root of the mean square): "
            "it is pressed against 0, and what is wanted lies below",
            tool="layer_analyzer",
            step=1,
            where=case.loss_place,
            output=output,
            error=left,
        )


CAUSE = Cause(
    id="model.output_activation_range",
    title="The output activation cannot produce the targets' range",
    phase="forward",
    repair="Use a linear output for regression (or scale the targets into the activation's range).",
    weigh=weigh,
    mistaken_for={"data.unscaled_target": "there the output could reach the targets in time"},
    explains=(
        "model.dead_units",
        "model.saturated_units",
        "numerics.vanishing_gradient",
        "data.unscaled_target",
        "eval.underfit_stopped_early",
    ),
    intervention="remove the last activation",
    next_measurement="range of outputs against range of targets",
    source="SO 48251943",
)
