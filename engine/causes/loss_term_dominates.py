"""One term of a summed loss drowns the others.

Source: deep_cage#16; pyro-ppl/pyro#731.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.terms import factors as site_factors

DROWNED = 0.02
"""Share of the total below which a term's gradient is noise beside the others'."""
HEAVY = 0.1
"""Share of the first total that a penalty needs to decide what is learned."""
GONE = 0.03
"""Share of its first value below which a penalty is met completely."""
FLAT = 0.1
"""Spread of the outputs over samples, against that of the targets, below which they are one and the same."""
NATS = 0.05
"""A code whose divergence from its prior is below this tells hardly a tenth of a bit about a sample: it bounds the information."""
OUTWEIGHS = 2.0
"""Weight of a divergence against the likelihood of a whole sample; the evidence bound has 1."""
STALLED = 0.25
"""A task term that lost less than this share of its first value was not learned."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the root that each recorded term had at first, with its factor, and which of them improves."""
    calls = case.calls(grad=True)
    root = case.run.table("backward")["loss"]
    sites = sorted(set(calls["site"].astype(int).tolist()))
    if len(case.run.optimizers) > 1 or len(root) < 10 or not sites:
        return
    every = {s: calls["value"][calls["site"] == s] for s in sites}
    values = {s: v for s, v in every.items() if abs(len(v) - len(root)) <= 0.05 * len(root)}
    silenced = list(_silenced(case, root, values)) or list(_collapsed(case, root, values))
    yield from silenced
    if silenced or not values or any(_ends(v)[1] < 0.5 * _ends(v)[0] for v in every.values()):
        return  # something is learned: a small term beside it is an auxiliary one
    factors = site_factors(case)
    for s, series in values.items():
        n = min(len(root), len(series))
        early = slice(0, max(3, n // 10))
        share = nanmedian(np.abs(factors.get(s, 1.0) * series[early]) / np.maximum(np.abs(root[early]), 1e-12))
        first, last = _ends(series)
        site = case.site(s)
        if not share < DROWNED or not first > 0 or (first - last) > STALLED * first or site is None:
            continue
        before, after = _ends(root)
        train = case.accuracy(grad=True)
        at_chance = bool(train.n) and not train.last > case.chance + 0.2 * (1 - case.chance)
        yield supports(
            STRONG if before - after > 0.1 * abs(before) or at_chance else MODERATE,
            f"the {site.function} term was {100 * share:.2g} % of the total loss and hardly moved ({first:.3g} to {last:.3g}), "
            f"while the total, made of something else, went from {before:.3g} to {after:.3g}",
            tool="gradient_debugger",
            step=1,
            where=case.site_place(s),
            share=share,
            first=first,
            last=last,
        )
        if at_chance:
            yield symptom(MODERATE + WEAK, f"accuracy stays near chance ({train.last:.2f})", accuracy=train.last)
        return


def _silenced(case: Case, root: Floats, values: dict[int, Floats]) -> Iterator[Weight]:
    """A penalty beside the task that was brought to nothing, and with it all that tells samples apart in the output."""
    factors = site_factors(case)
    if any(len(v) != len(root) for v in values.values()) or set(values) - set(factors):
        return
    penalty = root - sum(factors[s] * v for s, v in values.items())
    first, start, last = nanmedian(penalty[:3]), nanmedian(root[:3]), _ends(penalty)[1]
    if not first > HEAVY * start > 0 or not last < GONE * first:
        return
    for s in values:
        rows = case.calls(grad=True, site=s)
        seen = np.isfinite(rows["in_sample_std"])  # measured in full for the first calls of a long run only
        spread, wanted = _ends(rows["in_sample_std"][seen])[1], _ends(rows["target_std"][seen])[1]
        if spread < FLAT * wanted:
            yield supports(
                STRONG + WEAK,
                f"the terms beside {_name(case, s)} fell from {first:.3g} to {last:.2g}, and the outputs ended the same for every "
                f"sample (spread {spread:.2g}, that of the targets {wanted:.2g}): the penalty was met by switching the model off",
                tool="gradient_debugger",
                step=1,
                where=case.loss_place or case.site_place(s),
                first=first,
                last=last,
                spread=spread,
            )
            return


def _collapsed(case: Case, root: Floats, values: dict[int, Floats]) -> Iterator[Weight]:
    """A variational code that was switched off: the divergence from the prior is nothing, and it weighs more than the data."""
    factors, unit = site_factors(case), _prior_factor(case)
    if unit is None or len(values) != 1 or len(next(iter(values.values()))) != len(root):
        return
    site = next(iter(values))
    n = _ends(case.calls(grad=True, site=site)["n"])[1]
    shape = next((f.data.get("input_shape") for f in case.train_loss_calls if case.site_of(f) == site), None)
    reduction = next((f.data.get("reduction") for f in case.train_loss_calls if case.site_of(f) == site), None)
    if (
        site not in factors
        or not isinstance(shape, list)
        or len(shape) < 2
        or reduction not in {"mean", "sum"}
        or not n > 0
    ):
        return
    entries = float(np.prod(shape[1:]))
    coefficient = factors[site] / entries if reduction == "mean" else factors[site] * n
    divergence = (root - factors[site] * values[site]) / (2 * unit * n)
    last = _ends(divergence)[1]
    heavy = 2 * unit * n / coefficient if coefficient > 0 else 0.0
    if not last < NATS or heavy < OUTWEIGHS:
        return
    yield supports(
        DECISIVE,
        f"the divergence of the code from its prior weighs {heavy:.3g} times as much as the likelihood of a sample of "
        f"{entries:.0f} entries, and ended at {max(0.0, last):.2g} nats: the code says nothing about its input any more",
        tool="gradient_debugger",
        step=1,
        where=case.site_place(site),
        divergence=last,
        weight=heavy,
    )


def _prior_factor(case: Case) -> float | None:
    """Factor of the squared mean in a Gaussian's divergence from the standard one; None where the loss holds none.

    Its summands have one factor: two that grow with mean and variance, one that falls with the logarithm of the variance.
    """
    for fact in case.run.facts("graph"):
        told = [t for t in fact.data.get("terms") or [] if int(t.get("site", -1)) < 0 and t.get("below")]
        for term in told:
            factor = float(term["factor"])
            alike = [t for t in told if abs(abs(float(t["factor"])) - factor) < 0.01 * abs(factor)]
            growing = [t["below"][0] for t in alike if float(t["factor"]) > 0]
            falling = [t for t in alike if float(t["factor"]) < 0]
            squares = growing.count("Square")
            if factor > 0 and falling and squares and squares + growing.count("ExpBackward0") > 1:
                return factor
    return None


def _name(case: Case, site: int) -> str:
    found = case.site(site)
    return found.function if found is not None else "the task"


def _ends(series: Floats) -> tuple[float, float]:
    tenth = max(2, len(series) // 10)
    return nanmedian(series[:tenth]), nanmedian(series[-tenth:])


CAUSE = Cause(
    id="loss.term_dominates",
    title="One term of the loss outweighs the task term so much that the task is not learned",
    phase="loss",
    repair="Bring the weights of the terms to the same order of magnitude (compare their gradient norms).",
    weigh=weigh,
    mistaken_for={"graph.detached_term": "there the term has no gradient at all"},
    explains=("eval.underfit_stopped_early", "optimizer.weight_decay_excess", "optimizer.lr_too_high"),
    intervention="divide the weight of the dominating term by 100",
    next_measurement="gradient norm of each term alone",
    source="pyro-ppl/pyro#731",
)
