"""Targets cut to whole numbers on their way to a regression loss, or inputs by a division.

Source: TAXONOMY.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, STRONG, WEAK, Cause, Weight, supports
from aitia.engine.locate import written
from aitia.engine.patterns_setup import divided_whole

MIN_CALLS = 5
"""A few batches may hold one value by chance."""


def weigh(case: Case) -> Iterator[Weight]:
    """Integer targets over a wide range in a regression loss; inputs of which nothing was left."""
    yield from _inputs(case)
    for fact in case.train_loss_calls:
        if fact.data.get("function") not in {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}:
            continue
        low, high = fact.data.get("target_lowest"), fact.data.get("target_highest")
        integral = "int" in str(fact.data.get("target_dtype")) or fact.data.get("target_integral") is True
        if not integral or not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
            continue
        rows = case.calls(grad=True, site=case.site_of(fact))
        source = fact.data.get("target_source_dtype")
        if source and len(rows["step"]) >= MIN_CALLS and nanmax(rows["target_max"]) == float(rows["target_min"].min()):
            yield supports(
                DECISIVE,
                f"the loader hands the targets out as {source}, and all of them in {len(rows['step'])} batches are "
                f"{nanmax(rows['target_max']):.0f}: what told them apart was cut off with their fractional part",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                value=nanmax(rows["target_max"]),
            )
            return
        spread = nanmedian(rows["target_std"])
        if 0 < spread < 2.0 and low < 0:
            yield supports(
                STRONG + WEAK,
                f"the targets are whole numbers from {low:.0f} to {high:.0f} with a spread of only {spread:.2g}: a "
                "standardised quantity was cut to integers",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                spread=spread,
            )
            return


def _inputs(case: Case) -> Iterator[Weight]:
    """Every input of every batch is one number, in a program that divides whole numbers by whole numbers."""
    rows, calls = case.run.table("batch"), case.calls(grad=True)
    ours = rows["grad"] == 1
    same = ours.sum() >= 2 * MIN_CALLS and float(np.ptp(np.r_[rows["in_min"][ours], rows["in_max"][ours]])) == 0
    if not same or case.learned or not nanmedian(calls["target_std"]) > 0:
        return
    where = written(case.run, divided_whole)
    if where is not None:
        value = float(rows["in_min"][ours][0])
        yield supports(
            STRONG + WEAK,
            f"all inputs of {int(ours.sum())} batches are {value:.3g}: what told them apart was cut off by a division of "
            "whole numbers",
            tool="layer_analyzer",
            step=1,
            where=where,
            value=value,
        )


CAUSE = Cause(
    id="precision.int_or_dtype_truncation",
    title="Regression targets were cast to integers and lost their fractional part",
    phase="data",
    repair="Keep the targets in floating point (no .long(), .int() or integer arrays).",
    mistaken_for={"loss.wrong_for_task": "there the targets are class ids"},
    explains=("loss.wrong_for_task", "eval.underfit_stopped_early"),
    intervention="none at run time",
    next_measurement="fractional part of the targets before and after loading",
    weigh=weigh,
    source="TAXONOMY",
)
