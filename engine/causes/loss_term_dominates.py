"""One term of a summed loss drowns the others.

Source: deep_cage#16; pyro-ppl/pyro#731.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the root that each recorded term explains, and which of them improves."""
    calls = case.calls(grad=True)
    back = case.run.table("backward")["loss"]
    sites = sorted(set(calls["site"].astype(int).tolist()))
    if len(case.run.optimizers) > 1 or len(back) < 10 or not sites:
        return
    values = {s: calls["value"][calls["site"] == s] for s in sites}
    values = {s: v for s, v in values.items() if abs(len(v) - len(back)) <= 0.05 * len(back)}
    if not values:
        return
    n = min(len(back), *(len(v) for v in values.values()))
    root = back[:n]
    sizes = {s: nanmedian(np.abs(v[:n])) for s, v in values.items()}
    total = nanmedian(np.abs(root))
    shares = {s: size / total for s, size in sizes.items() if total > 0}
    tenth = max(2, n // 10)
    for s, share in shares.items():
        if share > 0.02:
            continue
        first, last = nanmedian(values[s][:tenth]), nanmedian(values[s][n - tenth : n])
        stalled = first > 0 and (first - last) < 0.25 * first
        site = case.site(s)
        root_falls = nanmedian(root[:tenth]) - nanmedian(root[-tenth:]) > 0.1 * abs(nanmedian(root[:tenth]))
        if stalled and site is not None:
            yield supports(
                STRONG if root_falls else MODERATE,
                f"the {site.function} term is {100 * share:.2g} % of the total loss and hardly moves ({first:.3g} to {last:.3g}) "
                "while the total is made of something else",
                tool="gradient_debugger",
                step=1,
                where=case.site_place(s),
                share=share,
                first=first,
                last=last,
            )
            train = case.accuracy(grad=True)
            if train.n and not train.last > case.chance + 0.2 * (1 - case.chance):
                yield symptom(MODERATE + WEAK, f"accuracy stays near chance ({train.last:.2f})", accuracy=train.last)
            return


CAUSE = Cause(
    id="loss.term_dominates",
    title="One term of the loss outweighs the task term so much that the task is not learned",
    phase="loss",
    repair="Bring the weights of the terms to the same order of magnitude (compare their gradient norms).",
    weigh=weigh,
    mistaken_for={"graph.detached_term": "there the term has no gradient at all"},
    explains=("eval.underfit_stopped_early",),
    intervention="divide the weight of the dominating term by 100",
    next_measurement="gradient norm of each term alone",
    source="pyro-ppl/pyro#731",
)
