"""The optimizer holds tensors that the model no longer uses, and misses the ones it uses now.

Seen as: a layer with healthy gradients whose weights never move; its gradient grows, since `zero_grad` misses it too.
Source: huggingface/accelerate#2665; HVPNeT#5.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, against, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Identity of tensors decides: held but unreachable, used but not held."""
    orphans = case.covered("held_not_in_model")
    missed = [p for p in case.covered("trainable_not_held") if (i := case.run.parameter(p)) is not None and i.in_model]
    if not orphans or not missed:
        return
    shapes = {p.shape for p in case.run.parameters if p.name in orphans}
    infos = [p for p in case.run.parameters if p.name in missed]
    same_shape = [p.name for p in infos if p.shape in shapes]
    with_gradient = [p.name for p in infos if nanmax(case.column("grad_norm", p.index)) > 0]
    if not with_gradient:
        yield against(STRONG, f"{listing(missed)} never had a gradient, so nothing was lost by not holding them")
        return
    peak = max(nanmax(case.column("grad_norm", p.index)) for p in infos)
    owner = case.owner(with_gradient[0])
    holders = [i for p in case.run.parameters if p.name in orphans for i in p.optimizers]
    built = case.optimizer_place(max(holders, default=0))
    replaced = case.place(case.run.fact("parameter_replaced"))
    yield supports(
        DECISIVE,
        f"{listing(with_gradient)} had gradients (norm up to {peak:.3g}) but no optimizer holds them, "
        f"while it holds {len(orphans)} tensors that no watched model uses",
        tool="gradient_debugger",
        subject=owner,
        step=1,
        where=built or replaced,
        grad_norm=peak,
        not_held=len(missed),
        orphans=len(orphans),
    )
    if same_shape:
        yield supports(
            STRONG,
            f"the orphaned tensors have the shapes of {listing(same_shape)}: they are its former self",
            tool="gradient_debugger",
            same_shape=len(same_shape),
        )


CAUSE = Cause(
    id="optimizer.stale_param_reference",
    title="The optimizer was built before the model's parameters were replaced, so it updates tensors nobody uses",
    phase="setup",
    repair="Build the optimizer after the last change to the model's structure (head replaced, moved, wrapped, re-created).",
    weigh=weigh,
    mistaken_for={
        "optimizer.params_missing_from_groups": "there the optimizer holds no unreachable tensors",
        "optimizer.lr_too_low": "there updates are small, here they are exactly 0",
        "optimizer.frozen_by_mistake": "there the gradient is absent, here it is healthy",
    },
    explains=(
        "optimizer.params_missing_from_groups",
        "optimizer.lr_too_low",
        "optimizer.frozen_by_mistake",
        "graph.stale_module",
        "loop.missing_zero_grad",
        "eval.underfit_stopped_early",
    ),
    intervention="add the model's present parameters to the optimizer",
    interventions=("add_missing_parameters",),
    next_measurement="identity of the parameters in every optimizer group at the first step",
    source="huggingface/accelerate#2665",
)
