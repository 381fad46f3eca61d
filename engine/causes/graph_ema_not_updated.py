"""A teacher that should be a slow average of the student stays at the student's random start.

Seen as: a consistency or distillation loss that holds the student back, since its target never learned anything.
Healthy twins: a teacher that was trained before; a reference copy of a model that was already good.
Source: EMANet#8; diffusers#1864.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports
from aitia.engine.records import Fact

FAR = 0.15
"""Accuracy that an average of the weights does not lose."""
OFTEN = 3
"""A random start is evaluated once as a baseline, not again and again."""


def weigh(case: Case) -> Iterator[Weight]:
    """A copy of the untrained network that runs in training and whose weights never move, while the original's do."""
    if case.n_steps < 10:
        return
    yield from _swapped_in(case)
    for fact in case.run.facts("copy"):
        name = str(fact.data.get("root"))
        if fact.data.get("changed") is not False or fact.data.get("original_changed") is not True:
            continue
        used = _used(case, name)
        if fact.data.get("late"):
            yield from _rewritten(case, fact, name)
            continue
        if used < 0.5 * case.n_steps:
            yield from _evaluated(case, fact, name)
            continue
        yield supports(
            DECISIVE,
            f"{name} began as a copy of {fact.data.get('of')} at its random start, ran {used} times in {case.n_steps} steps, and "
            f"none of its {fact.data.get('n')} parameters ever changed",
            tool="layer_analyzer",
            subject=name,
            step=1,
            calls=used,
            n_steps=case.n_steps,
        )
        return


def _swapped_in(case: Case) -> Iterator[Weight]:
    """Weights that are loaded for each evaluation, and taken out again after it, are the same every time."""
    loads = case.run.facts("load_state_dict")
    steps = sorted({f.step for f in loads})
    there = [step for step in steps if len({f.line for f in loads if f.step == step}) > 1]
    taken = {int(s) for f in case.run.facts("states_taken") for s in f.data.get("steps") or []}
    values = case.eval_accuracy
    trained = case.accuracy(grad=True).last
    if len(there) < OFTEN or not set(there) <= taken or len(values) < len(there):
        return  # a best state that is loaded at the end, or a checkpoint: nothing is put back
    if float(np.ptp(values)) > 0.0 or not trained > float(values[-1]) + FAR:
        return
    yield supports(
        STRONG + MODERATE,
        f"for {len(there)} evaluations other weights are loaded into the model and taken out again, and all of them give the same "
        f"accuracy to the last digit ({float(values[-1]):.3f}, training {trained:.3f}): those weights never change",
        tool="layer_analyzer",
        step=there[0],
        where=case.place(next(f for f in loads if f.step == there[0])),
        times=len(there),
        evaluation=float(values[-1]),
        train=trained,
    )


def _rewritten(case: Case, fact: Fact, name: str) -> Iterator[Weight]:
    """A model of the same shapes that is written to all the time, with what it holds already; or that stays as drawn."""
    times = _evaluations(case, name)
    if fact.data.get("untouched") is True and times >= OFTEN:
        yield supports(
            STRONG + MODERATE,
            f"{name} has the shapes of {fact.data.get('of')}, was run at {times} points of the training, and its "
            f"{fact.data.get('n')} parameters are still those that torch drew for it",
            tool="layer_analyzer",
            subject=name,
            step=1,
            times=times,
        )
    elif fact.data.get("written") is True:
        yield supports(
            DECISIVE,
            f"{name} has the shapes of {fact.data.get('of')}, is written to while that trains, and none of its "
            f"{fact.data.get('n')} parameters ever changed its value",
            tool="layer_analyzer",
            subject=name,
            step=1,
        )


def _evaluated(case: Case, fact: Fact, name: str) -> Iterator[Weight]:
    """A copy of the random start that is evaluated again and again."""
    times = _evaluations(case, name)
    if times >= OFTEN:
        yield supports(
            STRONG + WEAK,
            f"{name} began as a copy of {fact.data.get('of')} at its random start, was run at {times} points of the training, and "
            f"none of its {fact.data.get('n')} parameters ever changed",
            tool="layer_analyzer",
            subject=name,
            step=1,
            times=times,
        )


def _evaluations(case: Case, name: str) -> int:
    """At how many steps that network ran without gradients."""
    seen = case.run.fact("model_seen", name)
    rows = case.run.table("batch")
    mine = rows["root"] == int(seen.data.get("index", -1)) if seen is not None else np.zeros(len(rows["root"]), bool)
    return len(np.unique(rows["step"][mine & (rows["grad"] == 0)]))


def _used(case: Case, name: str) -> int:
    """Forwards of that network."""
    fact = case.run.fact("model_seen", name)
    if fact is not None:
        return int((case.run.table("batch")["root"] == int(fact.data.get("index", -1))).sum())
    child = name.partition(".")[2]
    inside = [x for x in case.leaves if x.name == child or x.name.startswith((f"{child}.", f"{name}."))]
    return case.n_steps if any(nanmax(case.layer_series(x, "calls")) > 0 for x in inside) else 0


CAUSE = Cause(
    id="graph.ema_not_updated",
    title="The averaged copy of the network is never updated",
    phase="step",
    repair="After each step move the copy's own tensors in place (teacher.lerp_(student, 1 - decay)), parameters and buffers.",
    weigh=weigh,
    mistaken_for={"graph.target_not_detached": "there the target moves, by gradient"},
    explains=("eval.underfit_stopped_early", "loss.term_dominates", "eval.metric_bug"),
    intervention="update the copy after each step",
    next_measurement="distance between the copy and the trained network over time",
    source="EMANet#8",
)
