"""Mixed precision is asked for, and the forward runs outside of it; or its cache of casts costs weights their gradient.

Healthy twin: a part of the model that is deliberately kept in full precision.
Source: pytorch/pytorch#105211; Lightning-AI/lightning-thunder#725.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

OFTEN = 3
"""Regions entered in training before it counts as intended."""


def weigh(case: Case) -> Iterator[Weight]:
    """Forwards inside of autocast regions; weights without gradient after a forward without gradients in the same region."""
    for fact in case.run.facts("autocast_use"):
        entered, inside = int(fact.data.get("entered") or 0), int(fact.data.get("forwards_inside") or 0)
        outside = int(fact.data.get("forwards_outside") or 0)
        if entered >= OFTEN and outside >= OFTEN and inside == 0:
            yield supports(
                DECISIVE,
                f"autocast was entered {entered} times in training, but all {outside} forwards of the model ran outside of it, "
                "in full precision",
                tool="performance_profiler",
                step=1,
                where=case.place(fact),
                entered=entered,
                outside=outside,
            )
            return
        refused = int(fact.data.get("refused") or 0)
        if refused >= OFTEN and inside == 0:
            yield supports(
                DECISIVE,
                f"autocast was asked for {refused} times in training and switched off by torch each time, for its device or its "
                "precision is not to be had here: every forward ran in full precision",
                tool="performance_profiler",
                step=1,
                where=case.place(fact),
                refused=refused,
            )
            return
        if inside:
            yield from _cached(case)


def _cached(case: Case) -> Iterator[Weight]:
    """Casts made in a forward without gradients have none, and autocast hands them out again."""
    calls = [c.letter for c in case.main_signature]
    first = next((i for i, letter in enumerate(calls) if letter in "Ff"), None)
    if first is None or not {"E", "e"} & set(calls[:first]):
        return
    present = case.param("grad_present")
    bare = [p.name for p in case.weights if p.optimizers and len(present) and not (present[:, p.index] == 1).any()]
    biased = any((present[:, p.index] == 1).any() for p in case.trainable if len(p.shape) == 1)
    if bare and biased:
        yield supports(
            DECISIVE,
            f"{listing(bare)} never had a gradient while biases had one: a forward without gradients comes first in the same "
            "autocast region and fills its cache with casts that track nothing",
            tool="gradient_debugger",
            subject=case.owner(bare[0]),
            step=1,
            n=len(bare),
        )


CAUSE = Cause(
    id="precision.autocast_not_applied",
    title="Mixed precision does not reach the forward, or takes gradients from it",
    phase="forward",
    repair="Put forward and loss inside the autocast region, and forwards without gradients into a region of their own.",
    weigh=weigh,
    mistaken_for={
        "graph.no_grad_region": "there the training forward itself tracks nothing",
        "precision.low_precision_weights": "there the parameters are in low precision",
    },
    explains=("optimizer.frozen_by_mistake", "graph.detached_term"),
    intervention="separate regions; cache_enabled=False",
    interventions=("single_precision",),
    next_measurement="type of the outputs of the layers",
    source="pytorch/pytorch#105211",
)
