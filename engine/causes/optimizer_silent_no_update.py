"""The step runs with a gradient and a rate, and the parameter is bit for bit what it was.

Source: pytorch/pytorch#118117; NVIDIA/TransformerEngine#3207.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports
from aitia.engine.locate import written
from aitia.engine.patterns_cut import bound_anew

MANY = 10
"""Backward passes whose equal losses are no chance."""
RESOLUTION = 1e-6
"""Of the weights' norm: a change that rounding in float32 (6e-8 of each number) may swallow, at ten times the safety."""


def weigh(case: Case) -> Iterator[Weight]:
    """Held, with gradient, with rate, in full precision - and update exactly 0 on nearly every step."""
    yield from _by_hand(case)
    _, lr = case.run.scalar("lr")
    if case.n_steps < 5 or not len(lr) or not np.nanmedian(lr) > 0:
        return
    if any(f.data.get("event") == "skip" for f in case.run.facts("scaler")):
        return
    still, moving = [], 0
    rate = float(np.nanmedian(lr))
    for p in case.trainable:
        if not p.optimizers or p.dtype in {"bfloat16", "float16"}:
            continue
        update, gradient = case.column("update_norm", p.index), case.column("grad_norm", p.index)
        seen = np.isfinite(update) & (gradient > 0)
        if seen.sum() < 5 or (update[seen] == 0).mean() <= 0.9:
            moving += bool(seen.sum() >= 5)
            continue
        weight = case.column("weight_norm", p.index)
        asked = rate * np.nanmedian(gradient[seen])
        still.append((p.name, bool(asked < RESOLUTION * np.nanmedian(weight[seen]))))
    if moving:  # a bias in front of a normalization layer has a gradient of rounding errors, and rounds it away
        still = [(name, lost) for name, lost in still if not lost]
    names = [name for name, _ in still]
    group_lr = case.run.table("group")["lr"]
    if names and not (len(group_lr) and (group_lr == 0).any()):
        yield supports(
            DECISIVE,
            f"{listing(names)}: held by the optimizer, gradient above 0, rate above 0, update exactly 0",
            tool="gradient_debugger",
            subject=case.owner(names[0]),
            step=1,
            parameters=len(names),
        )


def _by_hand(case: Case) -> Iterator[Weight]:
    """Without an optimizer: the loss is the same to the last bit, and a new tensor is bound where one should change."""
    losses = case.run.table("backward")["loss"]
    still = len(losses) >= MANY and bool(np.isfinite(losses).all()) and float(np.ptp(losses)) == 0 != losses[0]
    if not still or case.n_steps or case.run.optimizers or case.run.facts("optimizer_built"):
        return
    called = {f.file for f in case.run.facts("graph")}  # files in which backward was
    where = written(case.run, bound_anew, called) if called else None
    if where is not None:
        yield supports(
            STRONG,
            f"the loss of {len(losses)} backward passes is {losses[0]:.6g} to the last bit: what is computed from the "
            "gradients is bound to a name, and no parameter changes",
            tool="gradient_debugger",
            step=1,
            where=where,
            backwards=len(losses),
        )


CAUSE = Cause(
    id="optimizer.silent_no_update",
    title="Optimizer steps leave parameters unchanged although gradient and rate are above zero",
    phase="step",
    repair="Change the parameter in place (p -= lr * p.grad under no_grad); make it contiguous or upgrade the backend; keep "
    "fp32 master weights for low precision.",
    weigh=weigh,
    mistaken_for={"optimizer.stale_param_reference": "there the optimizer does not hold the parameter"},
    intervention="replace the parameter by a contiguous fp32 copy",
    next_measurement="the parameter before and after one step",
    source="pytorch/pytorch#118117",
)
