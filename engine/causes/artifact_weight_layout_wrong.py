"""Trained numbers are put into another model in the wrong order: it loads without complaint and answers otherwise.

Seen as: an exported, fused or converted model whose every weight comes from the trained one, and that is bad at the task.
Healthy twins: a conversion that is right (both models say the same), a copy that trains on, a quantised or pruned model.
Source: ai-edge-torch#6; madminer 9295026.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

OTHER = 0.05
"""Largest difference of two outputs, in units of the largest output: rounding in half precision stays below a hundredth."""


def weigh(case: Case) -> Iterator[Weight]:
    """A model that holds exactly the numbers of the trained one, in other places, and its answers on the same samples."""
    for fact in case.run.facts("rearranged"):
        gap = float(fact.data.get("difference") or 0.0)
        moved = [str(n) for n in fact.data.get("moved") or []]
        if not gap > OTHER or not moved:
            continue
        root, of = str(fact.data.get("root")), str(fact.data.get("of"))
        loads = [f for f in case.run.facts("load_state_dict") if f.step <= fact.step and f.data.get("root") == root]
        weights = [n for n in moved if not n.endswith("bias")] or moved
        yield supports(
            DECISIVE,
            f"{root} holds exactly the numbers of {of}, arranged differently in {listing(moved)}, and on the same samples it "
            f"answers differently (by {gap:.2g} of the largest output)",
            tool="layer_analyzer",
            subject=weights[0].rpartition(".")[0] or weights[0],
            step=max(1, fact.step),
            where=case.place(loads[-1] if loads else fact),
            difference=gap,
            moved=len(moved),
        )
        if loads:
            yield symptom(MODERATE, "every key was found and every shape fitted: loading reported nothing")
        return


CAUSE = Cause(
    id="artifact.weight_layout_wrong",
    title="Weights were rearranged wrongly on their way into another model: they load, and mean something else",
    phase="save",
    repair="Bring the weights into the order that the receiving layer reads (heads, gates, rows against columns), and compare "
    "both models' outputs on one batch.",
    weigh=weigh,
    mistaken_for={
        "artifact.load_skips_keys": "there weights kept their random values; here every number came from the trained model",
        "eval.preprocessing_mismatch": "there the same model is given other inputs",
    },
    explains=("eval.metric_bug", "artifact.tied_weights_lost"),
    intervention="none at run time: compare both models on one batch",
    next_measurement="outputs of both models on the same batch",
    source="ai-edge-torch#6",
)
