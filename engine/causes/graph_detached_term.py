"""A loss term that carries no gradient: .item(), .detach(), numpy, torch.tensor(x).

Source: ReLeaSE#39; deep_cage#16.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmedian
from aitia.engine.causes.base import DECISIVE, STRONG, WEAK, Cause, Weight, supports
from aitia.engine.causes.graph_non_differentiable_op import cut_off, needed
from aitia.engine.locate import written
from aitia.engine.patterns_cut import taken_out
from aitia.engine.records import Fact, SourceLocation

NOTHING = 1e-3
"""Share of the loss that rounding and a batch of another size may leave over."""


def weigh(case: Case) -> Iterator[Weight]:
    """A summand of the loss that moves and carries no gradient; or a loss function called on a detached prediction."""
    constant = list(_moving_constant(case)) or list(_added_figure(case)) or list(_branch(case))
    if constant:
        yield from constant
        return
    for fact in case.train_loss_calls:
        if fact.data.get("grad") is False or fact.data.get("input_requires_grad") is not False:
            continue
        if fact.data.get("target_requires_grad") is True:
            continue
        site = case.site_of(fact)
        rows = case.calls(grad=True, site=site)
        if len(rows["step"]) < 3 or nanmedian(rows["training"]) == 0:
            continue
        if _outside_the_sum(case) or _frozen_since(case, fact):
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


def _branch(case: Case) -> Iterator[Weight]:
    """Layers that no gradient reaches, and whose output the program takes out of the graph by hand."""
    cut = needed(case, cut_off(case)) if case.n_backward > 1 and not case.run.facts("untracked") else []
    names = {part for p in cut if p.layer for part in p.layer.split(".") if not part.isdigit()}
    where = written(case.run, lambda tree: taken_out(tree, names)) if names else None
    if where is not None:
        yield supports(
            STRONG,
            f"{listing(p.name for p in cut)} are in the optimizer and no gradient ever reaches them: what their layers "
            "compute is taken out of the graph before it gets to the loss",
            tool="gradient_debugger",
            subject=cut[-1].layer,
            step=1,
            where=where,
            parameters=len(cut),
        )


def _frozen_since(case: Case, fact: Fact) -> bool:
    """The same loss had a gradient before, and parameters were frozen in between: nobody cut its prediction."""
    earlier = [f for f in case.run.facts("loss_call", fact.subject) if f.id < fact.id]
    tracked = any(f.data.get("input_requires_grad") is True for f in earlier)
    return tracked and any(f.data.get("held_frozen") for f in case.run.facts("coverage"))


def _outside_the_sum(case: Case) -> bool:
    """What goes into backward is fully made of other terms: the detached one is a figure for the log."""
    walks = [f.data.get("terms") or [] for f in case.run.facts("graph")]
    if not walks or any(int(t.get("site", -1)) < 0 for terms in walks for t in terms):
        return False
    root = case.run.table("backward")["loss"].copy()
    total = nanmedian(np.abs(root))
    for term in walks[-1]:
        value = case.calls(grad=True, site=int(term["site"]))["value"]
        if len(value) != len(root):
            return False
        root -= float(term["factor"]) * value
    return bool(nanmedian(np.abs(root)) < 1e-4 * max(total, 1e-12))


def _added_figure(case: Case) -> Iterator[Weight]:
    """In a loss written by hand: a single number that was computed and cut from the graph is added to one that was not."""
    walks = [f.data.get("terms") or [] for f in case.run.facts("graph")]
    if not walks or not all(any(t.get("op") == "constant" for t in terms) for terms in walks) or _adds_nothing(case):
        return
    for fact in case.run.facts("loss_code"):
        for op in fact.data.get("ops") or []:
            sides = op.get("inputs") or []
            if op.get("op") not in {"add", "sub", "add_"} or sides != [[], []] or op.get("output") != []:
                continue
            if sorted(op.get("tracked") or []) == [False, True]:
                line = op.get("line")
                yield supports(
                    STRONG + WEAK,
                    "the loss is a sum of a term with a graph and one without: the second moves its value, but no parameter "
                    "feels it",
                    tool="gradient_debugger",
                    step=1,
                    where=SourceLocation(file=fact.file, lines=(int(line),)) if fact.file and line else None,
                )
                return


def _adds_nothing(case: Case) -> bool:
    """Whether the terms with a graph make up the whole loss, step by step: a sum that was begun with a zero."""
    walks = [f.data.get("terms") or [] for f in case.run.facts("graph")]
    known = [t for t in walks[-1] if t.get("op") != "constant"]
    factors = {int(t.get("site", -1)): float(t["factor"]) for t in known if isinstance(t.get("factor"), (int, float))}
    if not factors or min(factors) < 0:
        return False
    rows, calls = case.run.table("backward"), case.calls(grad=True)
    steps = np.intersect1d(rows["step"], calls["step"])
    weight = np.asarray([factors.get(int(s), 0.0) for s in calls["site"]])
    total = np.asarray([float(np.sum(rows["loss"][rows["step"] == s])) for s in steps])
    made = np.asarray([float(np.sum((weight * calls["value"])[calls["step"] == s])) for s in steps])
    return len(steps) > 0 and nanmedian(np.abs(total - made)) < NOTHING * max(nanmedian(np.abs(total)), 1e-12)


def _moving_constant(case: Case) -> Iterator[Weight]:
    """A term without gradient in the sum that goes into backward, whose size changes from step to step."""
    walks = [f.data.get("terms") or [] for f in case.run.facts("graph")]
    if not walks or not all(any(t.get("op") == "constant" for t in terms) for terms in walks):
        return
    factors = {int(t["site"]): float(t["factor"]) for t in walks[-1] if int(t.get("site", -1)) >= 0}
    if any(int(t.get("site", -1)) < 0 and t.get("op") != "constant" for t in walks[-1]):
        return  # hand-written terms: what is left of the root cannot be told apart
    root = case.run.table("backward")["loss"].copy()
    for site, factor in factors.items():
        value = case.calls(grad=True, site=site)["value"]
        if len(value) != len(root):
            return
        root -= factor * value
    size, spread = nanmedian(np.abs(root)), float(np.nanstd(root))
    total = nanmedian(np.abs(case.run.table("backward")["loss"]))
    if spread > 0.01 * max(total, 1e-12) and size > 0.01 * total:
        yield supports(
            DECISIVE,
            f"a term of the loss carries no gradient: it makes {100 * size / total:.0f} % of the value that goes into backward "
            f"and moves (from {nanmedian(root[:5]):.3g} to {nanmedian(root[-5:]):.3g}), but parameters cannot feel it",
            tool="gradient_debugger",
            step=1,
            where=case.place(case.run.fact("graph")),
            share=size / total,
            first=nanmedian(root[:5]),
            last=nanmedian(root[-5:]),
        )


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
