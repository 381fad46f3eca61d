"""Weights that were loaded are initialised again before their first use.

Seen as: a fine-tuning that starts like training from scratch although loading reported no missing key.
Healthy twins: a new head on a loaded body; loaded weights that are rounded or pruned.
Source: huggingface/transformers#35141, PR 45079; flash-linear-attention PR 739.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, STRONG, WEAK, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Prints of every weight right after loading and at the model's first use."""
    for fact in case.run.facts("loaded_weights"):
        replaced = [str(n) for n in fact.data.get("replaced") or []]
        total = int(fact.data.get("n_weights") or 0)
        # a head alone is the last to be replaced; who initialises the body again begins with the first layer
        if not replaced or not fact.data.get("from_the_first") or len(replaced) < 0.5 * total:
            continue
        loads = [f for f in case.run.facts("load_state_dict") if f.step <= fact.step]
        yield supports(
            DECISIVE if len(replaced) == total else STRONG + WEAK,
            f"{len(replaced)} of {total} loaded weights ({listing(replaced)}) were other weights when the model was first "
            "used: something initialised them after loading",
            tool="layer_analyzer",
            subject=case.owner(replaced[0]),
            step=fact.step,
            where=case.place(loads[-1]) if loads else None,
            replaced=len(replaced),
            loaded=total,
        )
        return


CAUSE = Cause(
    id="init.overwritten",
    title="Loaded weights are overwritten by a later initialisation",
    phase="setup",
    repair="Initialise first and load afterwards (or leave loaded modules out of the initialisation).",
    weigh=weigh,
    mistaken_for={
        "artifact.load_skips_keys": "there the weights never arrived: missing and unexpected keys were reported"
    },
    explains=("eval.underfit_stopped_early", "optimizer.lr_too_low", "init.wrong_scale", "init.symmetric"),
    intervention="load the state again before the first step",
    next_measurement="weights right after loading against weights at the first forward",
    source="huggingface/transformers#35141",
)
