"""Gradients are cleared between backward and step: the step finds nothing.

Source: a Stack Overflow snippet mirrored at xiaobeizi.cn/x/6iuujguWdu.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Call, Case, nanmax
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Order B … Z … S in most steps, and parameters without gradient at the step."""
    n = sum(case.signatures.values())
    wrong = case.steps_where(wiped_before_step)
    if n < 3 or wrong < 0.5 * n:
        return
    zero = next(
        (f for f in case.run.facts("signature") if wiped_before_step(_calls(str(f.data.get("signature", ""))))), None
    )
    yield supports(
        DECISIVE,
        f"in {wrong} of {n} steps zero_grad came after backward and before optimizer.step",
        tool="gradient_debugger",
        step=zero.step if zero else 1,
        where=case.place(zero),
        steps=n,
        wrong_order=wrong,
    )
    held = [p for p in case.trainable if p.optimizers]
    if held and all(not nanmax(case.column("grad_norm", p.index)) > 0 for p in held):
        yield supports(
            STRONG,
            f"none of the {len(held)} parameters in the optimizer had a gradient when it stepped",
            tool="gradient_debugger",
            parameters=len(held),
        )


def _calls(text: str) -> list[Call]:
    from aitia.engine.case import parse_signature

    return parse_signature(text)


def wiped_before_step(calls: list[Call]) -> bool:
    """True when the last clearing before the step of an optimizer comes after the last backward."""
    last_b = max((i for i, c in enumerate(calls) if c.letter == "B"), default=-1)
    if last_b < 0:
        return False
    for i in range(last_b + 1, len(calls)):
        if calls[i].letter == "Z":
            return any(c.letter == "S" and calls[i].index in {-1, c.index} for c in calls[i + 1 :])
    return False


CAUSE = Cause(
    id="loop.zero_grad_after_backward",
    title="zero_grad() runs between backward and step, so the step has no gradient to apply",
    phase="loop",
    repair="Move zero_grad() before backward (or after step).",
    weigh=weigh,
    mistaken_for={
        "optimizer.stale_param_reference": "there the gradients are there and the optimizer holds other tensors",
        "optimizer.lr_too_low": "there gradients enter the step",
    },
    explains=(
        "optimizer.never_stepped",
        "numerics.vanishing_gradient",
        "graph.no_grad_region",
        "graph.stale_module",
        "optimizer.silent_no_update",
        "graph.non_differentiable_op",
        "eval.underfit_stopped_early",
    ),
    intervention="skip zero_grad between backward and step",
    interventions=("keep_gradients", "zero_gradients"),
    next_measurement="order of backward, zero_grad and step",
    source="xiaobeizi.cn/x/6iuujguWdu",
)
