"""Attention without positions: the order of the tokens makes no difference.

Source: huggingface/transformers#19045; DEFault++.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom

PLACES = 4
"""Rows from which a table is one of places; single tokens (a class, a mask) are often left unused."""


def weigh(case: Case) -> Iterator[Weight]:
    """On a copy: tokens were permuted and nothing else happened than the same permutation."""
    if not case.kinds("attention"):
        return
    for fact in case.probes.get("position", []):
        if fact.data.get("order_ignored") is True or fact.data.get("last_order_ignored") is True:
            yield supports(
                DECISIVE if not case.learned else STRONG,
                "permuting the input tokens leaves the model's answer as it was: no position reaches it",
                tool="layer_analyzer",
                subject=_unused(case) or case.kinds("attention")[0].name,
                step=1,
                change=float(fact.data.get("difference") or 0.0),
            )
            if case.learned:
                yield against(MODERATE, "the task is learned all the same: order may not matter here")
            return
    yield from _left_out(case)


def _left_out(case: Case) -> Iterator[Weight]:
    """Where the order of the input cannot be changed from outside: a table of places that the loss never reaches."""
    widths = {p.shape[-1] for p in case.weights if p.layer in {x.name for x in case.kinds("attention")}}
    leaves = {x.name for x in case.leaves}
    for p in case.trainable:
        present = case.column("grad_present", p.index)
        seen = np.isfinite(present)
        table = p.layer not in leaves and p.shape[-1:] and p.shape[-1] in widths and math.prod(p.shape[:-1]) >= PLACES
        if p.optimizers and table and seen.any() and not (present[seen] > 0).any():
            yield supports(
                STRONG,
                f"{p.name} {list(p.shape)} has a row of the width that attention reads for each of {math.prod(p.shape[:-1])} "
                "places, and the graph of the loss never reaches it: it is made and not added",
                tool="gradient_debugger",
                subject=case.owner(p.name),
                step=1,
                places=math.prod(p.shape[:-1]),
            )
            yield symptom(MODERATE, "without it attention cannot tell one place from another")
            return


def _unused(case: Case) -> str | None:
    """An embedding that runs and that the graph of the loss never reaches: looked up and not added."""
    for layer in case.kinds("embedding"):
        present = [case.column("grad_present", p.index) for p in case.trainable if p.layer == layer.name]
        silent = all(not nanmax(x) > 0 for x in present)
        if present and silent and nanmax(case.layer_series(layer, "calls")) > 0:
            return layer.name
    return None


CAUSE = Cause(
    id="model.no_position_signal",
    title="No position information reaches the attention layers",
    phase="forward",
    repair="Add the positional embedding (or encoding) to the token embedding.",
    weigh=weigh,
    mistaken_for={"model.capacity_bottleneck": "there order changes the output"},
    explains=("eval.underfit_stopped_early", "model.capacity_bottleneck", "graph.non_differentiable_op"),
    intervention="add fixed sinusoidal positions",
    next_measurement="output under permuted tokens",
    source="huggingface/transformers#19045",
)
