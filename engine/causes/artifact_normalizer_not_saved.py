"""What a model needs to standardise its input is no part of its state: the reloaded model computes something else.

Healthy twin: constants that every instance sets to the same values.
Source: PyTorch documentation, Module.register_buffer.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Tensors that are plain attributes: their values in the model that was saved, and in the one that was loaded."""
    for fact in case.run.facts("loaded_weights"):
        differ = [str(name) for name in fact.data.get("plain_differ") or []]
        if not differ:
            continue
        yield supports(
            DECISIVE,
            f"{listing(differ)} are plain attributes and no part of the state: after the load they are not what they were in "
            "the model that was saved, while every parameter is",
            tool="layer_analyzer",
            subject=differ[0].rpartition(".")[0] or None,
            step=max(1, fact.step),
            where=case.place(next(iter(case.run.facts("load_state_dict")), None)),
            n=len(differ),
        )
        return


CAUSE = Cause(
    id="artifact.normalizer_not_saved",
    title="Statistics that the model needs are plain attributes, so they are not saved with it",
    phase="save",
    repair="Register them as buffers (self.register_buffer('mean', mean)), or save them beside the state.",
    weigh=weigh,
    mistaken_for={
        "eval.preprocessing_mismatch": "there the inputs differ before they reach the model",
        "artifact.load_skips_keys": "there parameters were not filled",
    },
    explains=("eval.preprocessing_mismatch",),
    intervention="copy the attributes over",
    next_measurement="plain tensor attributes of both models",
    source="PyTorch documentation, Module.register_buffer",
)
