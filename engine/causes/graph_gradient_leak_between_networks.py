"""One network's step uses gradients that another network's loss left behind.

Seen as: two networks with an optimizer each, and the gradients of one of them are not cleared between the other's backward
and its own step. Healthy twins: networks that learn a task together, both losses meant for both.
Source: Lightning-AI/pytorch-lightning#557; BigGAN-PyTorch#25.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Call, Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports
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
    total = sum(case.signatures.values())
    _, carried = case.run.scalar("carried_grad_norm")
    for info in case.run.optimizers:
        steps = case.steps_where(lambda calls, i=info.index: any(c.letter == "S" and c.index == i for c in calls))
        clears = case.steps_where(lambda calls, i=info.index: any(c.letter == "Z" and c.index == i for c in calls))
        if not total or steps <= 0.5 * total or clears >= 0.1 * steps:
            continue
        others = case.steps_where(lambda calls, i=info.index: any(c.letter == "Z" and c.index != i for c in calls))
        by_module = case.steps_where(lambda calls: any(c.letter == "Z" and c.index < 0 for c in calls))
        if others < 0.5 * total or (by_module and not nanmedian(carried) > 0):
            continue  # a module's own zero_grad clears without naming an optimizer: what is left tells
        roots = [f for f in _roots(case) if _reached(f) & _held(case, info.index)]
        alone = [f for f in roots if _reached(f) <= _held(case, info.index)]
        yield supports(
            STRONG if not case.learned else MODERATE,
            f"optimizer {info.name} steps in {steps} of {total} iterations and its gradients are cleared in {clears}: gradients of "
            "the other network's loss and of earlier steps stay in its step",
            tool="gradient_debugger",
            subject=_network(case, info.index),
            step=1,
            where=case.place((alone or roots)[0]) if roots else case.optimizer_place(info.index),
            optimizer=info.name,
            cleared=clears,
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
    roots = _roots(case)
    if len(roots) < 2:
        return
    held = {o.index: _held(case, o.index) for o in case.run.optimizers}
    used = _followed(case, roots, held)
    for judge, mixed in used.items():
        own = [i for i in mixed if _reached(roots[i]) <= held[judge]]
        score = [i for i in mixed if i not in own and _is_score(case, roots[i])]
        judged = [o for o, mine in used.items() if o != judge and mine == set(score)]
        if not own or not judged:
            continue
        names = {o.index: o.name for o in case.run.optimizers}
        yield supports(
            STRONG + MODERATE,
            f"when {names[judge]} steps, its gradients are the sum of its own loss and of the one that trains "
            f"{names[judged[0]]}'s network: nothing clears them between the two backward passes",
            tool="gradient_debugger",
            subject=_network(case, judge),
            step=1,
            where=case.place(roots[own[0]]),
            optimizer=names[judge],
            losses=len(mixed),
        )
        return


def _roots(case: Case) -> list[Fact]:
    """The first walk of every loss: one for each backward call of an iteration, in their order."""
    found: dict[tuple[object, ...], Fact] = {}
    for fact in case.run.facts("graph"):
        found.setdefault((fact.file, fact.line, frozenset(_reached(fact))), fact)
    return list(found.values())


def _followed(case: Case, roots: list[Fact], held: dict[int, set[str]]) -> dict[int, set[int]]:
    """Optimizer → losses whose gradients are in it when it steps, in the run's most frequent kind of iteration."""
    facts = case.run.facts("signature")
    first = parse_signature(str(facts[0].data.get("signature", ""))) if facts else []
    calls: list[Call] = first + case.main_signature * CYCLES
    if sum(c.letter == "B" for c in case.main_signature) != len(roots):
        return {}
    waiting: dict[int, set[int]] = {o: set() for o in held}
    used: dict[int, set[int]] = {}
    done = 0
    for call in calls:
        if call.letter == "B":
            at = done % len(roots)
            done += 1
            for o, names in held.items():
                if names & _reached(roots[at]):
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


def _reached(fact: Fact) -> set[str]:
    return {str(n) for n in fact.data.get("reached") or []}


def _held(case: Case, optimizer: int) -> set[str]:
    return {p.name for p in case.run.parameters if optimizer in p.optimizers}


def _network(case: Case, optimizer: int) -> str | None:
    """Deepest module that holds all that an optimizer trains."""
    paths = [name.split(".") for name in sorted(_held(case, optimizer))]
    if not paths:
        return None
    common = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
    return ".".join(common) or paths[0][0]


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
