"""Training resumes with the weights restored and the optimizer's or scheduler's state lost.

Source: lightly-ai/lightly-train PR 301; torch-points3d PR 630; PolymathicAI/the_well PR 63.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.records import Fact


def weigh(case: Case) -> Iterator[Weight]:
    """A new optimizer of the same kind over the same parameters in the middle of a run, and a rate that jumps back up."""
    built = sorted(case.run.facts("optimizer_built"), key=lambda f: f.step)
    for fact in built[1:]:
        former = next((f for f in built if f.step < fact.step and f.data.get("cls") == fact.data.get("cls")), None)
        if former is None or former.data.get("n_params") != fact.data.get("n_params") or fact.step < 3:
            continue
        restored = [f for f in case.run.facts("load_state_dict") if abs(f.step - fact.step) <= 1]
        optimizer_restored = any(f.data.get("kind") == "optimizer" for f in restored)
        if optimizer_restored:
            yield against(STRONG, "the optimizer's state was loaded too")
        before, after = _rates(case, former), _rates(case, fact)
        if not len(before) or not len(after) or not restored:
            continue
        jump = float(after[0] / before[-1]) if before[-1] > 0 else 1.0
        if jump < 1.5:
            continue
        yield supports(
            DECISIVE,
            f"at step {fact.step} a new {fact.data.get('cls')} was built and weights were loaded, and the rate jumped from "
            f"{before[-1]:.3g} to {after[0]:.3g}: the schedule began anew",
            tool="gradient_debugger",
            step=fact.step,
            where=case.place(fact),
            lr_before=float(before[-1]),
            lr_after=float(after[0]),
        )
        loss_before = nanmedian(case.loss.values[(case.loss.steps < fact.step) & (case.loss.steps >= fact.step - 10)])
        loss_after = nanmedian(case.loss.values[(case.loss.steps >= fact.step) & (case.loss.steps < fact.step + 10)])
        if loss_after > 1.1 * loss_before:
            yield symptom(MODERATE, f"the loss jumps from {loss_before:.3g} to {loss_after:.3g}", after=loss_after)
        return


def _rates(case: Case, built: Fact) -> Floats:
    """Largest rate of one optimizer at each of its steps."""
    table = case.run.table("group")
    mine = table["optimizer"].astype(int) == int(built.data.get("index", -1))
    steps, lr = table["step"][mine], table["lr"][mine]
    return np.asarray([np.nanmax(lr[steps == s]) for s in np.unique(steps)], dtype=np.float64)


CAUSE = Cause(
    id="scheduler.reset_on_resume",
    title="After resuming, the optimizer or the schedule starts anew",
    phase="setup",
    repair="Save and load the state of the optimizer and of the scheduler together with the model's.",
    weigh=weigh,
    mistaken_for={"scheduler.wrong_horizon": "there the rate climbs by the schedule's own rule"},
    explains=("optimizer.lr_too_high", "scheduler.wrong_horizon", "eval.underfit_stopped_early"),
    intervention="restore the optimizer's state",
    next_measurement="learning rate and optimizer state around the resume",
    source="lightly-ai/lightly-train PR 301",
)
