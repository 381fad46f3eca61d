"""One network's gradients are computed while another network's optimizer steps.

Source: Lightning-AI/pytorch-lightning#557, #591.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom
from aitia.engine.signature import passed_over


def weigh(case: Case) -> Iterator[Weight]:
    """Two optimizers were built; one of them never steps although its parameters get gradients."""
    if len(case.run.optimizers) < 2 or case.n_steps < 3:
        return
    stepped = set(case.run.table("group")["optimizer"].astype(int).tolist())
    for info in case.run.optimizers:
        if info.index in stepped:
            continue
        mine = [p for p in case.run.parameters if info.index in p.optimizers]
        only = [p for p in mine if set(p.optimizers) == {info.index}]
        alive = [p for p in only if case.graded(p.index)]
        if not alive:
            continue
        if case.steps_where(lambda calls, own=info.index: passed_over(calls, own)):
            continue  # after its backward nothing steps: a step is missing, and none is mistaken
        yield supports(
            DECISIVE,
            f"optimizer {info.name} never stepped in {case.n_steps} steps although its parameters "
            f"({listing(p.name for p in alive)}) had gradients; the other optimizer stepped instead",
            tool="gradient_debugger",
            subject=case.owner(alive[0].name),
            step=1,
            where=case.optimizer_place(info.index),
            optimizer=info.name,
            n_steps=case.n_steps,
        )
        twice = [s for s in case.signatures if _double_step(s)]
        if twice:
            yield symptom(MODERATE, "another optimizer steps twice per iteration", signatures=len(twice))


def _double_step(signature: str) -> bool:
    steps = [t for t in signature.split() if t.startswith("S")]
    return len(steps) > len(set(steps)) or bool(np.any(["*" in t for t in steps]))


CAUSE = Cause(
    id="optimizer.wrong_optimizer_stepped",
    title="The wrong optimizer steps: one network never moves",
    phase="step",
    repair="Step the optimizer that holds the parameters whose gradients were just computed.",
    weigh=weigh,
    mistaken_for={"graph.detach_in_generator_step": "there the network's own gradients are absent"},
    explains=("optimizer.never_stepped", "loop.missing_zero_grad", "graph.gradient_leak_between_networks"),
    intervention="step the other optimizer too",
    interventions=("step_after_backward",),
    next_measurement="steps per optimizer",
    source="Lightning-AI/pytorch-lightning#557",
)
