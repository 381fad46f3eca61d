"""Parameters with requires_grad off although nothing was ever learned or loaded into them.

Healthy twin: a backbone that was trained or loaded, then frozen.
Source: open-mmlab/mmpretrain#702; TrainCheck pytorch-forum-84911.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom

UNFIT = 0.6
"""Share of the way from chance to 1 that a head on useful frozen features passes on its own training data."""
RISING = 0.05
"""Share of that way which the last third of the run added to the one before: still on its way."""
ENOUGH = 30
MOST = 0.5
"""A frozen minority leaves enough to learn with."""
FULL = 0.8
"""Share of the way from chance to 1 that random features, where they were chosen on purpose, are enough for."""
LONG = 20
"""Steps for which a network stays frozen: one that is switched off for the other one's turn is back after one."""


def weigh(case: Case) -> Iterator[Weight]:
    """Frozen while random: no load, no earlier training. Or frozen in between and never switched on again."""
    yield from _left_off(case)
    frozen = [p for p in case.run.parameters if p.in_model and not p.requires_grad and p.layer is not None]
    frozen = [p for p in frozen if p.name in set(case.covered("frozen")) or not case.covered("frozen")]
    if not frozen or not case.trainable:
        return
    called = {x.name for x in case.run.layers if nanmax(case.layer_series(x, "calls")) > 0}
    frozen = [p for p in frozen if not called or p.layer in called]
    roots = {x.name: x.root for x in case.run.layers}
    training = {roots.get(p.layer or "") for p in case.trainable}
    frozen = [p for p in frozen if roots.get(p.layer or "") in training]  # a whole other network (teacher) is no part
    frozen = [p for p in frozen if not case.written_by_hand(p.name)]  # an average of the trained part moves with it
    if not frozen:
        return
    given = {str(n) for f in case.run.facts("weights_given") for n in f.data.get("names") or []}
    blank = [p for p in frozen if p.name not in given and not nanmax(case.column("update_norm", p.index)) > 0]
    if given and any(len(p.shape) > 1 for p in blank):
        frozen = blank  # what was loaded is frozen on purpose; what stands beside it at random values is not
    size = sum(_numel(p.shape) for p in frozen)
    share = size / max(1, size + sum(_numel(p.shape) for p in case.trainable))
    loaded = [] if frozen is blank else case.run.facts("load_state_dict")
    trained = [p for p in frozen if nanmax(case.column("update_norm", p.index)) > 0]
    held = [p for p in frozen if p.optimizers]
    statement = (
        f"{listing(p.name for p in frozen)} ask for no gradient: {100 * share:.0f} % of the weights in use are frozen"
    )
    where = case.optimizer_place()
    unfit = _unfit(case)
    fresh = [p for p in blank if p.name in _redrawn(case) and len(p.shape) > 1]
    if fresh:
        yield supports(
            DECISIVE,
            f"{listing(p.name for p in fresh)} replaced a trained parameter, and is frozen as it was drawn: nothing was ever "
            "learned or loaded there",
            tool="layer_analyzer",
            subject=case.owner(fresh[0].name),
            step=case.phase_start,
            where=where,
            frozen_share=share,
        )
    elif (loaded or trained) and unfit and share > MOST:
        yield supports(
            STRONG + WEAK,
            f"{statement}, and what is left to learn does not fit the training data: accuracy {unfit:.2f}, and no longer rising",
            tool="layer_analyzer",
            subject=case.owner(frozen[0].name),
            step=case.phase_start,
            where=where,
            frozen_share=share,
            accuracy=unfit,
        )
    elif loaded or trained:
        yield against(
            STRONG,
            "the frozen part was trained or loaded before: freezing it looks deliberate",
            loaded=len(loaded),
            trained=len(trained),
        )
    elif not case.learned:
        yield supports(
            DECISIVE,
            f"{statement}, at their random initial values (nothing was loaded or trained into them), "
            "and the loss does not fall",
            tool="layer_analyzer",
            subject=case.owner(frozen[0].name),
            step=1,
            where=where,
            frozen_share=share,
            frozen=len(frozen),
        )
    else:
        yield supports(
            MODERATE + WEAK,
            f"{statement}, at their random initial values",
            tool="layer_analyzer",
            subject=case.owner(frozen[0].name),
            step=1,
            where=where,
            frozen_share=share,
        )
        accuracy = case.accuracy(grad=True).last
        if accuracy < case.chance + FULL * (1 - case.chance) and share > MOST:
            yield symptom(MODERATE, f"training accuracy is {accuracy:.2f} at the end", accuracy=accuracy)
    if held:
        yield symptom(
            WEAK,
            f"the optimizer was given {len(held)} of the frozen parameters: they were meant to train",
            held_frozen=len(held),
        )
    if frozen[-1].index > max(p.index for p in case.trainable):
        yield supports(
            MODERATE, f"the last layer ({case.owner(frozen[-1].name)}) is among the frozen ones", tool="layer_analyzer"
        )


def _redrawn(case: Case) -> set[str]:
    """Parameters that another tensor took the place of after training had begun."""
    return {f.subject for f in case.run.facts("parameter_replaced") if f.step > 1}


def _left_off(case: Case) -> Iterator[Weight]:
    """A network was frozen after its first steps and never switched on again, while its own loss is still computed."""
    facts = case.run.facts("coverage")
    off = [bool(f.data.get("held_frozen")) for f in facts]
    if not any(off) or off[off.index(True) :].count(False) or len(case.run.optimizers) < 2:
        return
    since = facts[off.index(True)]
    lost = {str(n) for n in since.data.get("held_frozen") or []}
    group = case.run.table("group")
    for info in case.run.optimizers:
        mine = {p.name for p in case.run.parameters if info.index in p.optimizers}
        steps = group["step"][group["optimizer"] == info.index]
        if not mine or not mine <= lost or (len(steps) and case.n_steps - steps.max() < LONG):
            continue
        for fact in case.run.facts("loss_call"):
            site = case.site_of(fact)
            if fact.data.get("input_requires_grad") is not False or not _fed_back(case, site):
                continue
            later = case.calls(grad=True, site=site)["step"]
            if int((later > since.step).sum()) < LONG:
                continue
            yield supports(
                DECISIVE,
                f"from step {since.step} on all {len(mine)} parameters of {info.name} ask for no gradient: it took "
                f"{len(steps)} steps, and its loss, which is still computed, moves nothing",
                tool="gradient_debugger",
                subject=case.owner(sorted(mine)[0]).partition(".")[0],
                step=since.step,
                where=case.place(since),
                optimizer=info.name,
                steps=len(steps),
            )
            return


def _fed_back(case: Case, site: int | None) -> bool:
    """Whether a loss went into backward at first: its prediction was tracked then."""
    facts = [f for f in case.run.facts("loss_call") if case.site_of(f) == site]
    return site is not None and any(f.data.get("input_requires_grad") is True for f in facts)


def _unfit(case: Case) -> float | None:
    """Training accuracy where it stopped rising far from fitting the data; None where it did not, or there is none."""
    accuracy = case.accuracy(grad=True)
    late = accuracy.values[accuracy.steps >= case.phase_start]
    late = late[np.isfinite(late)]
    if len(late) < ENOUGH or not math.isfinite(case.chance):
        return None
    third = len(late) // 3
    before, last = float(np.mean(late[-2 * third : -third])), float(np.mean(late[-third:]))
    room = 1.0 - case.chance
    fits = last > case.chance + UNFIT * room or last - before > RISING * room
    return None if fits else last


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for d in shape:
        n *= d
    return n


CAUSE = Cause(
    id="optimizer.frozen_by_mistake",
    title="Layers that should learn are frozen at their random initial values",
    phase="setup",
    repair="Set requires_grad back on for the layers that should learn, and freeze only what was pretrained.",
    weigh=weigh,
    mistaken_for={
        "optimizer.params_missing_from_groups": "there gradients are computed and only the optimizer ignores them",
        "graph.no_grad_region": "there requires_grad is on and the gradient absent all the same",
    },
    explains=("eval.underfit_stopped_early", "model.capacity_bottleneck"),
    intervention="unfreeze the layers",
    interventions=("unfreeze",),
    next_measurement="requires_grad of every parameter and where its values came from",
    source="open-mmlab/mmpretrain#702",
)
