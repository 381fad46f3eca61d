"""The 'best' weights are a reference to the live ones.

Source: PyPOTS#667; pytorch/tutorials PR 188.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom
from aitia.engine.records import Fact


def weigh(case: Case) -> Iterator[Weight]:
    """A state_dict that was kept over many steps and shares its storage with the live parameters."""
    kept = [
        f
        for f in case.run.facts("state_dict")
        if f.data.get("aliased") is True and int(f.data.get("alive_after_steps") or 0) >= 2 and _trained_on(case, f)
    ]
    if not kept:
        return
    loaded = [f for f in case.run.facts("load_state_dict") if f.data.get("aliased") is True]
    at_once = {f.step for f in case.run.facts("save")}
    unused = [f for f in kept if not f.data.get("dropped") and int(f.data.get("taken") or 0) not in at_once]
    if not loaded and not unused:
        return  # a name for a moment: replaced, or written to disk when it was taken
    held = max(unused or kept, key=lambda f: int(f.data.get("alive_after_steps") or 0))
    taken, after = int(held.data.get("taken") or 1), int(held.data.get("alive_after_steps") or 0)
    yield supports(
        DECISIVE if loaded else STRONG,
        f"a state_dict taken at step {taken} was kept for {after} more steps without a copy: its tensors are the live "
        "parameters, so it changed with every step",
        tool="memory_tracker",
        step=taken,
        where=case.place(held),
        alive_after_steps=after,
        kept=len(kept),
    )
    if loaded:
        yield symptom(MODERATE, "and it was loaded back later: that changed nothing", step=loaded[0].step)


def _trained_on(case: Case, kept: Fact) -> bool:
    """Whether the model went on learning after its state was taken; of one that is finished an alias is as good as a copy."""
    layers = {x.name for x in case.run.layers if x.root == kept.data.get("root")}
    own = [p for p in case.run.parameters if p.layer in layers]
    after = case.param_steps > int(kept.data.get("taken") or 1)
    return not own or any(bool((case.column("update_norm", p.index)[after] > 0).any()) for p in own)


CAUSE = Cause(
    id="artifact.best_state_aliased",
    title="The kept best state is an alias of the live parameters, so it is always the last state",
    phase="save",
    repair="Copy it: copy.deepcopy(model.state_dict()) (or clone every tensor, or save it to disk at once).",
    mistaken_for={"artifact.ema_or_wrong_copy_saved": "there another network is saved"},
    explains=("eval.overfit",),
    intervention="none at run time",
    interventions=("copy_states",),
    next_measurement="storage of the kept tensors against the live ones",
    weigh=weigh,
    source="pytorch/tutorials PR 188",
)
