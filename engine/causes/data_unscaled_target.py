"""Regression targets in the thousands against outputs that start near zero.

Source: SO 47932589, 46642627.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom

REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss")
LARGE = 20.0
BEHIND = 0.5
"""Share of the first distance to the targets that is left when the steps are spent on their size."""


def weigh(case: Case) -> Iterator[Weight]:
    """Size of the targets against what the model puts out, at the beginning and at the end."""
    for site in case.run.losses:
        if site.function not in REGRESSION:
            continue
        rows = case.calls(grad=True, site=site.index)
        if len(rows["step"]) < 5:
            continue
        mean, std = abs(nanmedian(rows["target_mean"])), nanmedian(rows["target_std"])
        size = max(mean, std)
        start = nanmedian(rows["in_std"][:3]) + abs(nanmedian(rows["in_mean"][:3]))
        if size < LARGE or start > 0.2 * size:
            continue
        gap = abs(nanmedian(rows["in_mean"][-5:]) - nanmedian(rows["target_mean"][-5:]))
        explained = nanmedian(rows["value"][-5:]) / max(std**2, 1e-12) if site.function == "mse_loss" else float("nan")
        behind = gap > 0.5 * std or explained > 0.7 or case.diverged or case.nonfinite_step is not None
        yield supports(
            DECISIVE if behind else MODERATE,
            f"targets have mean {nanmedian(rows['target_mean']):.4g} and standard deviation {std:.3g}, outputs start at about "
            f"{start:.2g}: most of the loss ({nanmedian(rows['value'][:3]):.3g}) is their size",
            tool="layer_analyzer",
            step=1,
            where=case.site_place(site.index),
            target_mean=mean,
            target_std=std,
            output=start,
        )
        if gap > 0.5 * std:
            yield symptom(MODERATE, f"at the end the mean output is still {gap:.3g} away from the mean target", gap=gap)
        elif not behind:
            yield against(STRONG, "the outputs reached the targets all the same", gap=gap)
        return
    if not case.train_loss_calls:
        yield from _by_hand(case)


def _by_hand(case: Case) -> Iterator[Weight]:
    """A squared error written by hand: its root tells the distance from the outputs to the targets."""
    graph = next(iter(case.run.facts("graph")), None)
    ops = [str(op) for op in (graph.data.get("ops") or [])[:3]] if graph else []
    rows = case.run.table("batch")
    outputs = rows["grad"] == 1
    values = case.per_backward.values
    if ops[:1] != ["MeanBackward0"] or not {"PowBackward0", "SubBackward0"} <= set(ops) or outputs.sum() < 5:
        return
    distance, left = float(np.sqrt(nanmedian(values[:3]))), float(np.sqrt(nanmedian(values[-5:])))
    output = nanmedian(np.abs(rows["out_mean"][outputs][:3]) + rows["out_std"][outputs][:3])
    if distance < LARGE or output > 0.2 * distance:
        return
    behind = left > BEHIND * distance or case.diverged or case.nonfinite_step is not None
    yield supports(
        DECISIVE if behind else MODERATE,
        f"outputs start at about {output:.2g} and are {distance:.4g} away from their targets (root of the mean square): "
        f"most of the loss is the targets' size; at the end {left:.4g} are left",
        tool="layer_analyzer",
        step=1,
        distance=distance,
        left=left,
        output=output,
    )
    if not behind:
        yield against(STRONG, "the outputs reached the targets all the same", left=left)


CAUSE = Cause(
    id="data.unscaled_target",
    title="Regression targets are not scaled: the model spends its steps on reaching their size",
    phase="data",
    repair="Standardise the targets (and invert the scaling for predictions).",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there the targets have a size near one"},
    explains=(
        "optimizer.lr_too_low",
        "optimizer.lr_too_high",
        "eval.underfit_stopped_early",
        "numerics.exploding_gradient",
    ),
    intervention="standardise the targets",
    interventions=("standardise_targets",),
    next_measurement="mean and standard deviation of the targets",
    source="SO 47932589",
)
