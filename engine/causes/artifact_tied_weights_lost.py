"""Weights that were one tensor in training are two after the reload, and one of them was never filled.

Healthy twin: a model that ties them again when it is built.
Source: Modalities#357; huggingface/transformers PR 43429.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Names that shared a tensor in the model that ran before, and do not in the one that a state was loaded into."""
    for fact in case.run.facts("load_state_dict"):
        missing = {str(name) for name in fact.data.get("missing") or []}
        for group in fact.data.get("untied") or []:
            names = [str(name) for name in group]
            empty = [name for name in names if name in missing]
            yield supports(
                DECISIVE if empty else MODERATE,
                f"{listing(names)} were one tensor in the model that ran before; in the one loaded here they are several"
                + (f", and the state held nothing for {listing(empty)}: it kept its initial values" if empty else ""),
                tool="layer_analyzer",
                subject=empty[0].rpartition(".")[0] if empty else names[-1].rpartition(".")[0],
                step=max(1, fact.step),
                where=case.place(fact),
                missing=len(empty),
            )
            before, after = _accuracy(case, fact.step)
            if empty and before is not None and after is not None and after < 0.5 * before:
                yield symptom(MODERATE, f"accuracy falls from {before:.2f} to {after:.2f} after the load")
            return


def _accuracy(case: Case, step: int) -> tuple[float | None, float | None]:
    train, held_out = case.accuracy(grad=True), case.eval_curve("accuracy")
    later = held_out.values[held_out.steps >= step]
    return (train.last if train.n else None), (float(later[0]) if len(later) else None)


CAUSE = Cause(
    id="artifact.tied_weights_lost",
    title="Tied weights came apart on the way through the file",
    phase="save",
    repair="Tie the weights again after building and after loading (head.weight = embedding.weight), and load with strict=True.",
    weigh=weigh,
    mistaken_for={
        "artifact.load_skips_keys": "there most tensors were not filled; here one that had been another's alias"
    },
    explains=("artifact.load_skips_keys", "eval.underfit_stopped_early"),
    intervention="tie the weights after the load",
    next_measurement="storage of both names before saving and after loading",
    source="huggingface/transformers PR 43429",
)
