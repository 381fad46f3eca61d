"""Networks with an optimizer each: what every one holds, which losses reach it, and whether anybody clears it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aitia.engine.case import Case, nanmedian
from aitia.engine.records import Fact, OptimizerInfo


@dataclass(frozen=True)
class Uncleared:
    """An optimizer that steps in most iterations and whose gradients hardly any of them clears."""

    info: OptimizerInfo
    steps: int
    clears: int
    total: int
    """Iterations."""
    roots: tuple[Fact, ...]
    """Losses that reach its parameters."""


def uncleared(case: Case) -> Iterator[Uncleared]:
    """Of several optimizers, those that nobody clears while another one is cleared."""
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
        reaching = tuple(f for f in roots(case) if reached(f) & held(case, info.index))
        yield Uncleared(info, steps, clears, total, reaching)


def roots(case: Case) -> list[Fact]:
    """The first walk of every loss: one for each backward call of an iteration, in their order."""
    found: dict[tuple[object, ...], Fact] = {}
    for fact in case.run.facts("graph"):
        found.setdefault((fact.file, fact.line, frozenset(reached(fact))), fact)
    return list(found.values())


def reached(root: Fact) -> set[str]:
    """Parameters that a loss depends on."""
    return {str(n) for n in root.data.get("reached") or []}


def held(case: Case, optimizer: int) -> set[str]:
    """Parameters that an optimizer was given."""
    return {p.name for p in case.run.parameters if optimizer in p.optimizers}


def network(case: Case, optimizer: int) -> str | None:
    """Deepest module that holds all that an optimizer trains."""
    paths = [name.split(".") for name in sorted(held(case, optimizer))]
    if not paths:
        return None
    common = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
    return ".".join(common) or paths[0][0]
