"""Many backward passes whose gradients are wiped before anybody steps: one update per epoch.

Source: TAXONOMY; an indentation slip.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Backward-zero_grad pairs without a step between them."""
    if case.n_steps < 1 or case.n_backward < 3 * case.n_steps:
        return
    lost = case.wiped
    if lost < 0.5 * case.n_backward:
        return
    yield supports(
        DECISIVE,
        f"{case.n_backward} backward passes made {case.n_steps} optimizer steps: the gradients of {lost} passes were cleared "
        "before any step used them",
        tool="gradient_debugger",
        step=1,
        n_backward=case.n_backward,
        n_steps=case.n_steps,
        lost=lost,
    )


CAUSE = Cause(
    id="loop.step_outside_batch_loop",
    title="optimizer.step() stands outside the batch loop: only the last batch of an epoch is used",
    phase="loop",
    repair="Move optimizer.step() into the batch loop.",
    weigh=weigh,
    mistaken_for={
        "loop.accumulation_not_normalized": "there gradients are kept until the step",
        "optimizer.lr_too_low": "there every batch makes a step",
    },
    explains=("eval.underfit_stopped_early", "optimizer.lr_too_low", "loop.zero_grad_after_backward"),
    intervention="step after each backward",
    interventions=("step_after_backward",),
    next_measurement="backward passes per step",
    source="",
)
