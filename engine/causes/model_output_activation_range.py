"""The last activation cannot reach the targets.

Source: SO 48251943, 48221692.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
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
    """Range of the predictions over the run against the range of the targets."""
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
        by = str(
            next((f.data.get("input_by") for f in case.train_loss_calls if f.data.get("function") == site.function), "")
            or ""
        )
        if bounds is None:
            for name, pair in BOUNDS.items():
                if name.lower() in by.lower():
                    bounds = pair
        if bounds is None:
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
