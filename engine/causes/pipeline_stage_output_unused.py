"""A later stage does not use what an earlier one made: it goes on with an untrained part of the same form.

Seen as: a pre-training that makes no difference; the second stage is as good as without the first.
Healthy twins: repetitions and folds (each trains the same whole model anew), a pre-trained part that is loaded or passed on.
Source: the training report of a code-search model (0 % explanation coverage; loss 5.85 to 0.76 once the stages were wired).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import Fact, ParameterInfo

MATRICES = 2
"""Weights that two parts must have alike, all of them, to be of the same form: one linear layer is found everywhere."""


@dataclass(frozen=True)
class _Part:
    name: str
    root: str
    parameters: tuple[ParameterInfo, ...]

    @property
    def form(self) -> tuple[tuple[int, ...], ...]:
        return tuple(p.shape for p in self.parameters)

    @property
    def optimizers(self) -> set[int]:
        return {o for p in self.parameters for o in p.optimizers}

    @property
    def frozen(self) -> bool:
        return not any(p.requires_grad for p in self.parameters)


def weigh(case: Case) -> Iterator[Weight]:
    """An untrained part that joined a training under way, against the parts of the same form that were trained before."""
    parts = _parts(case)
    for fact in case.run.facts("fresh_model"):
        for name in fact.data.get("parts") or []:
            part = parts.get(".".join(filter(None, (str(fact.data.get("root")), str(name)))))
            found = [] if part is None else list(_of(case, fact, part, list(parts.values())))
            if found:
                yield from found
                return


def _of(case: Case, fact: Fact, part: _Part, parts: list[_Part]) -> Iterator[Weight]:
    built = {int(f.data.get("index", -1)): f.step for f in case.run.facts("optimizer_built")}
    first = {o for o, step in built.items() if step < max(1, fact.step)}
    before = [
        p for p in parts if p.root != part.root and p.form == part.form and p.optimizers and p.optimizers <= first
    ]
    given = [f for f in case.run.facts("load_state_dict") if not f.data.get("raised")]
    later = case.n_steps - fact.step
    if not before or given or part.optimizers & first or later < 2:
        return
    saved = bool(case.run.facts("save")) or bool(case.run.facts("states_taken"))
    told = f"{part.name} runs from step {fact.step} on with the weights that were drawn for it, although {before[0].name}, of "
    told += "the same form, was trained before" + (" and its state was kept" if saved else "")
    if part.frozen:
        yield supports(
            DECISIVE if saved else STRONG,
            f"{told}; it is frozen, so it stays random to the end",
            tool="layer_analyzer",
            subject=part.name,
            step=fact.step,
            where=case.place(fact),
            later_steps=later,
        )
        if not saved:
            yield symptom(WEAK, "nothing of the first model was kept")
        return
    if not part.optimizers or _same_whole(parts, before[0].root, part.root):
        return
    yield supports(
        STRONG if saved else MODERATE,
        f"{told}, and nothing was ever loaded",
        tool="layer_analyzer",
        subject=part.name,
        step=fact.step,
        where=case.place(fact),
        later_steps=later,
    )


def _same_whole(parts: list[_Part], a: str, b: str) -> bool:
    """Whether two models are alike as a whole, and trained in the same company: folds, seeds, an ensemble."""
    whole = {p.name: p for p in parts}
    first, second = whole.get(a), whole.get(b)
    if first is None or second is None or first.form != second.form:
        return False
    return _company(parts, first) == _company(parts, second)


def _company(parts: list[_Part], part: _Part) -> list[tuple[tuple[int, ...], ...]]:
    roots = [p for p in parts if p.name == p.root and p.optimizers & part.optimizers]
    return sorted(p.form for p in roots)


def _parts(case: Case) -> dict[str, _Part]:
    """Whole models and their children, by name, where they have enough weights to be recognised."""
    roots = {x.root for x in case.run.layers}
    found: dict[str, list[ParameterInfo]] = {}
    for p in case.run.parameters:
        root = next((r for r in roots if p.name.startswith(f"{r}.")), None)
        if root is None or not p.in_model or p.tied_to is not None:
            continue
        child = p.name[len(root) + 1 :].partition(".")[0]
        found.setdefault(root, []).append(p)
        found.setdefault(f"{root}.{child}", []).append(p)
    parts = {n: _Part(n, n if n in roots else n.rpartition(".")[0], tuple(ps)) for n, ps in found.items()}
    return {n: p for n, p in parts.items() if sum(len(x.shape) > 1 for x in p.parameters) >= MATRICES}


CAUSE = Cause(
    id="pipeline.stage_output_unused",
    title="A later stage does not use what the earlier one made",
    phase="setup",
    repair="Hand the earlier stage's result on (path, variable) and fail where it is missing instead of going on without.",
    weigh=weigh,
    mistaken_for={
        "artifact.load_skips_keys": "there a state was loaded, and its keys did not fit",
        "init.overwritten": "there the state was loaded, and drawn anew afterwards",
        "optimizer.frozen_by_mistake": "there the frozen part holds weights that were meant to be trained here",
    },
    explains=(
        "optimizer.frozen_by_mistake",
        "data.label_misaligned",
        "eval.underfit_stopped_early",
        "model.capacity_bottleneck",
    ),
    intervention="load the earlier stage's state into the part",
    next_measurement="weights of the part at the start of each stage",
    source="training report of a code-search model",
)
