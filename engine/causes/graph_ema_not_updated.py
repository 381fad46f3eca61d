"""A teacher that should be a slow average of the student stays at the student's random start.

Seen as: a consistency or distillation loss that holds the student back, since its target never learned anything.
Healthy twins: a teacher that was trained before; a reference copy of a model that was already good.
Source: EMANet#8; diffusers#1864.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """A copy of the untrained network that runs in training and whose weights never move, while the original's do."""
    if case.n_steps < 10:
        return
    for fact in case.run.facts("copy"):
        name = str(fact.data.get("root"))
        if fact.data.get("changed") is not False or fact.data.get("original_changed") is not True:
            continue
        used = _used(case, name)
        if used < 0.5 * case.n_steps:
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
    explains=("eval.underfit_stopped_early", "loss.term_dominates"),
    intervention="update the copy after each step",
    next_measurement="distance between the copy and the trained network over time",
    source="EMANet#8",
)
