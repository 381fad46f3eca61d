"""ignore_index is the id of a real class, which is therefore never learned.

Source: lucidrains/parti-pytorch#8; lucidrains/DALLE-pytorch#57.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports

INSIDE = 0.02
"""Share of all targets that are ignored amid others; padding stands at the ends."""


def weigh(case: Case) -> Iterator[Weight]:
    """Targets equal to ignore_index that are not padding: single labels, or ids inside the sequence."""
    for fact in case.train_loss_calls:
        ignored = fact.data.get("ignore_index")
        classes = fact.data.get("n_classes")
        if not isinstance(ignored, int) or ignored < 0 or (isinstance(classes, int) and ignored >= classes):
            continue  # an id that no class has
        share = 1.0 - float(fact.data.get("valid_share", 1.0) or 0.0)
        pad = fact.data.get("padding") or {}
        tail = float(pad.get("ignored_tail_share", 0.0) or 0.0)
        shape = fact.data.get("target_shape") or []
        inside = share - tail
        if inside > INSIDE:
            yield supports(
                DECISIVE if len(shape) == 1 else STRONG,
                f"ignore_index = {ignored} drops {100 * share:.0f} % of the targets, and {100 * inside:.0f} % are labels "
                "like the others, not padding at the ends: that class is never learned",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                ignore_index=ignored,
                dropped_share=share,
            )
            return


CAUSE = Cause(
    id="loss.ignore_index_hits_real_class",
    title="ignore_index is the id of a real class, so that class never counts",
    phase="loss",
    repair="Use an ignore_index that no class has (such as -100) and a padding id of its own.",
    weigh=weigh,
    mistaken_for={"data.targets_mostly_masked": "there the masked positions are padding or prompts"},
    explains=("data.targets_mostly_masked", "data.class_imbalance"),
    intervention="ignore_index = -100",
    interventions=("count_every_class",),
    next_measurement="loss and recall of the ignored class",
    source="lucidrains/parti-pytorch#8",
)
