"""One network's step uses gradients that another network's loss left behind.

Seen as: two networks with an optimizer each, and the gradients of one of them are not cleared between the other's backward
and its own step. Healthy twins: networks that learn a task together, both losses meant for both.
Source: Lightning-AI/pytorch-lightning#557; BigGAN-PyTorch#25.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Call, Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports
from aitia.engine.networks import held, network, reached, roots, uncleared
from aitia.engine.records import Fact
from aitia.engine.signature import parse_signature

CYCLES = 4
"""Iterations that are followed; what is in a step repeats itself from the second one on."""


def weigh(case: Case) -> Iterator[Weight]:
    """Two optimizers: one of them is never cleared, or not between the other network's backward and its own step."""
    if len(case.run.optimizers) < 2 or case.n_steps < 5:
        return
    found = list(_never_cleared(case))
    yield from found or _mixed_in_one_step(case)


def _never_cleared(case: Case) -> Iterator[Weight]:
    _, carried = case.run.scalar("carried_grad_norm")
    for kept in uncleared(case):
        if len(kept.roots) < 2:
            continue  # no other loss reaches it: what stays is its own, of earlier steps
        mine = held(case, kept.info.index)
        alone = [f for f in kept.roots if reached(f) <= mine]
        yield supports(
            STRONG if not case.learned else MODERATE,
            f"optimizer {kept.info.name} steps in {kept.steps} of {kept.total} iterations and its gradients are cleared in "
            f"{kept.clears}: gradients of the other network's loss and of earlier steps stay in its step",
            tool="gradient_debugger",
            subject=network(case, kept.info.index),
            step=1,
            where=case.place((alone or kept.roots)[0]),
            optimizer=kept.info.name,
            cleared=kept.clears,
        )
        if nanmedian(carried) > 0:
            yield supports(
                MODERATE + WEAK,
                f"left-over gradients (norm {nanmedian(carried):.3g}) are there at the first backward",
                tool="gradient_debugger",
                carried=nanmedian(carried),
            )


def _mixed_in_one_step(case: Case) -> Iterator[Weight]:
    """The score that one network gives another is left in the first one's gradients when it steps for its own loss."""
    losses = roots(case)
    if len(losses) < 2:
        return
    mine_of = {o.index: held(case, o.index) for o in case.run.optimizers}
    used = _followed(case, losses, mine_of)
    for judge, mixed in used.items():
        own = [i for i in mixed if reached(losses[i]) <= mine_of[judge]]
        score = [i for i in mixed if i not in own and _is_score(case, losses[i])]
        judged = [o for o, mine in used.items() if o != judge and mine == set(score)]
        if not own or not judged:
            continue
        names = {o.index: o.name for o in case.run.optimizers}
        yield supports(
            STRONG + MODERATE,
            f"when {names[judge]} steps, its gradients are the sum of its own loss and of the one that trains "
            f"{names[judged[0]]}'s network: nothing clears them between the two backward passes",
            tool="gradient_debugger",
            subject=network(case, judge),
            step=1,
            where=case.place(losses[own[0]]),
            optimizer=names[judge],
            losses=len(mixed),
        )
        return


def _followed(case: Case, losses: list[Fact], mine_of: dict[int, set[str]]) -> dict[int, set[int]]:
    """Optimizer → losses whose gradients are in it when it steps, in the run's most frequent kind of iteration."""
    facts = case.run.facts("signature")
    first = parse_signature(str(facts[0].data.get("signature", ""))) if facts else []
    calls: list[Call] = first + case.main_signature * CYCLES
    if sum(c.letter == "B" for c in case.main_signature) != len(losses):
        return {}
    waiting: dict[int, set[int]] = {o: set() for o in mine_of}
    used: dict[int, set[int]] = {}
    done = 0
    for call in calls:
        if call.letter == "B":
            at = done % len(losses)
            done += 1
            for o, names in mine_of.items():
                if names & reached(losses[at]):
                    waiting[o].add(at)
        elif call.letter == "Z":
            for o in waiting if call.index < 0 else [call.index]:
                waiting[o] = set()
        elif call.letter == "S":
            used[call.index] = set(waiting.get(call.index, ()))
    return used


def _is_score(case: Case, root: Fact) -> bool:
    """Whether a loss knows no data to hit: an output is pushed up or down, or towards one and the same target."""
    sites = [int(s) for s in root.data.get("sites") or []]
    for site in sites:
        rows = case.calls(grad=True, site=site)
        if not len(rows["target_min"]) or nanmedian(rows["target_max"] - rows["target_min"]) != 0:
            return False
    return bool(root.data.get("terms") or sites)


CAUSE = Cause(
    id="graph.gradient_leak_between_networks",
    title="One network's gradients are not cleared before its step, so another loss leaks into it",
    phase="loop",
    repair="Zero both networks' gradients before each backward.",
    mistaken_for={"loop.missing_zero_grad": "there nobody clears anything"},
    explains=("loop.missing_zero_grad", "optimizer.lr_too_high"),
    intervention="zero gradients before each backward",
    interventions=("zero_gradients",),
    next_measurement="gradient against the fresh gradient, per network",
    weigh=weigh,
    source="BigGAN-PyTorch#25",
)
