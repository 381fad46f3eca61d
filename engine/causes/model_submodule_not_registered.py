"""Layers kept in a plain list: they run, but the model does not know them.

Source: pytorch/pytorch#666, #715, #53; pytorch-labs/torchfix#31.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Modules with parameters that ran inside the model's forward but are not among its modules."""
    strangers = [x for x in case.run.layers if x.config.get("registered") is False]
    params = [p for p in case.run.parameters if p.layer in {x.name for x in strangers} and not p.optimizers]
    if not strangers or not params:
        return
    yield supports(
        DECISIVE,
        f"{listing(x.name for x in strangers)} ran inside the model's forward but are not registered in it: "
        f"{len(params)} parameters are invisible to parameters(), to(), eval() and state_dict()",
        tool="layer_analyzer",
        subject=strangers[0].name,
        step=1,
        layers=len(strangers),
        parameters=len(params),
    )
    if any(p.requires_grad for p in params):
        yield supports(STRONG, "they ask for gradients and no optimizer holds them", tool="gradient_debugger")


CAUSE = Cause(
    id="model.submodule_not_registered",
    title="Submodules live in a plain list or dict, so the model does not know their parameters",
    phase="setup",
    repair="Keep submodules in nn.ModuleList or nn.ModuleDict.",
    weigh=weigh,
    mistaken_for={"optimizer.params_missing_from_groups": "there the parameters are in model.parameters()"},
    explains=(
        "optimizer.params_missing_from_groups",
        "optimizer.stale_param_reference",
        "eval.underfit_stopped_early",
        "optimizer.frozen_by_mistake",
    ),
    intervention="add the parameters to the optimizer",
    interventions=("add_missing_parameters",),
    next_measurement="modules called against modules registered",
    source="pytorch/pytorch#666",
)
