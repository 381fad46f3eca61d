"""A loss term that carries no gradient: .item(), .detach(), numpy, torch.tensor(x).

Source: ReLeaSE#39; deep_cage#16.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Loss calls in training whose prediction does not ask for a gradient."""
    for fact in case.train_loss_calls:
        if fact.data.get("grad") is False or fact.data.get("input_requires_grad") is not False:
            continue
        if fact.data.get("target_requires_grad") is True:
            continue
        site = case.site_of(fact)
        rows = case.calls(grad=True, site=site)
        if len(rows["step"]) < 3 or nanmedian(rows["training"]) == 0:
            continue
        others = len({int(s) for s in case.calls(grad=True)["site"]}) > 1 or case.n_backward > 0
        if not others:
            continue
        yield supports(
            DECISIVE if not case.learned or case.n_backward else STRONG,
            f"{fact.data.get('function')} was called {len(rows['step'])} times in training on a prediction that is cut from "
            "the graph: the term moves, the parameters do not feel it",
            tool="gradient_debugger",
            step=1,
            where=case.place(fact),
            calls=len(rows["step"]),
        )
        return


CAUSE = Cause(
    id="graph.detached_term",
    title="A term of the loss is cut from the graph, so it trains nothing",
    phase="loss",
    repair="Keep the tensor: no .item(), .detach(), .data, numpy or torch.tensor() on the way from the model to the loss.",
    mistaken_for={"loss.term_dominates": "there the term has a gradient, a small one"},
    explains=("eval.underfit_stopped_early", "graph.non_differentiable_op"),
    intervention="none at run time",
    next_measurement="requires_grad of every term",
    weigh=weigh,
    source="deep_cage#16",
)
