"""Padding counts as a target: the loss is low because padding is easy.

Source: lukas-blecher/LaTeX-OCR#305; lucidrains/DALLE-pytorch#57.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

INSIDE = 0.2
"""A class like the others occurs inside of sequences too; padding has most of its occurrences at their ends."""


def weigh(case: Case) -> Iterator[Weight]:
    """A target value that fills the tails of the sequences and is counted."""
    for fact in case.train_loss_calls:
        pad = fact.data.get("padding") or {}
        share = pad.get("tail_share")
        if fact.data.get("function") not in {"cross_entropy", "nll_loss"} or not isinstance(share, (int, float)):
            continue
        value, ignored = pad.get("value"), fact.data.get("ignore_index")
        alone = float(pad.get("inside_share") or 0) < INSIDE
        if share > 0.15 and float(pad.get("agree") or 0) > 0.9 and alone and value != ignored:
            yield supports(
                DECISIVE,
                f"{100 * share:.0f} % of the counted targets are the id {value} in unbroken runs at the ends of the "
                f"sequences: padding, and ignore_index is {ignored}",
                tool="layer_analyzer",
                step=max(1, fact.step),
                where=case.place(fact),
                tail_share=share,
                pad_id=value,
            )
            rows = case.calls(grad=True)
            if np.isfinite(rows["majority_share"]).any() and nanmedian(rows["majority_share"][-10:]) > 0.6 * share:
                yield symptom(
                    MODERATE, "the model mostly predicts that id", majority=nanmedian(rows["majority_share"][-10:])
                )


CAUSE = Cause(
    id="loss.padding_counted",
    title="Padding positions count in the loss",
    phase="loss",
    repair="Pass ignore_index=pad_id to the loss (or mask the padding).",
    weigh=weigh,
    mistaken_for={"data.class_imbalance": "there the frequent class is spread over the sequence"},
    explains=("data.class_imbalance", "eval.metric_bug"),
    intervention="ignore the padding id",
    next_measurement="loss on padding and on the rest, separately",
    source="lukas-blecher/LaTeX-OCR#305",
)
