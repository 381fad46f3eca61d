"""Attention without positions: the order of the tokens makes no difference.

Source: huggingface/transformers#19045; DEFault++.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports


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
