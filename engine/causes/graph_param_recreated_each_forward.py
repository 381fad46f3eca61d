"""A parameter is made anew in every forward pass.

Source: TAXONOMY.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Parameters that become other tensors again and again, or a graph that ends in parameters nobody knows."""
    replaced: dict[str, int] = {}
    for fact in case.run.facts("parameter_replaced"):
        replaced[fact.subject] = replaced.get(fact.subject, 0) + 1
    often = [name for name, n in replaced.items() if n >= 3]
    walks = case.run.facts("graph")
    unknown = [f for f in walks if "?" in (f.data.get("reached") or [])]
    left = [n for f in unknown for n in (f.data.get("not_reached_trainable") or [])]
    if often:
        yield supports(
            DECISIVE,
            f"{listing(often)} became another tensor {max(replaced.values())} times during the run",
            tool="layer_analyzer",
            subject=case.owner(often[0]),
            step=1,
            where=case.place(case.run.fact("parameter_replaced", often[0])),
            times=max(replaced.values()),
        )
    elif unknown and left and len(unknown) >= 0.8 * len(walks):
        yield supports(
            STRONG,
            f"the graph of the loss ends in parameters that belong to no model, while {listing(dict.fromkeys(map(str, left)))} "
            "are never reached",
            tool="layer_analyzer",
            subject=case.owner(str(left[0])),
            step=1,
            walks=len(unknown),
        )
        if not case.learned:
            yield symptom(MODERATE, f"the loss stays at {case.loss.last:.3g}", loss=case.loss.last)


CAUSE = Cause(
    id="graph.param_recreated_each_forward",
    title="A parameter is created anew in every forward pass, so what is optimised is never used",
    phase="forward",
    repair="Create the parameter once in __init__ and use it in forward.",
    mistaken_for={"optimizer.stale_param_reference": "there the parameter is replaced once"},
    explains=(
        "optimizer.stale_param_reference",
        "graph.stale_module",
        "optimizer.params_missing_from_groups",
        "graph.non_differentiable_op",
        "eval.underfit_stopped_early",
    ),
    intervention="none at run time",
    next_measurement="identity of the parameters from step to step",
    weigh=weigh,
    source="TAXONOMY",
)
