"""Evaluation numbers the classes in another order than training did: the predictions are right, and permuted.

Source: scikit-learn documentation of LabelEncoder; Python documentation of set.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports, symptom

Ids = npt.NDArray[np.int64]
SURE = 0.6
"""Share of a class's samples that go to one class: the model knows the class, whatever it is called."""
FEWEST = 8
"""Samples of a class from which that share means something."""


def weigh(case: Case) -> Iterator[Weight]:
    """Each class is recognised, as another one: the table of confusions is a permutation, in evaluation alone."""
    held_out, training = case.confusion(grad=False), case.confusion(grad=True)
    if held_out is None or training is None or held_out.shape[0] < 3:
        return
    learned = float(np.trace(training) / max(training.sum(), 1.0))
    targets, said, shares = _mapping(held_out)
    moved = [(int(t), int(s)) for t, s in zip(targets, said, strict=True) if t != s]
    if len(targets) < 3 or len(set(said.tolist())) < len(said) or len(moved) < 2 or learned < SURE:
        return
    accuracy = float(np.trace(held_out) / held_out.sum())
    told = ", ".join(f"{t} as {s}" for t, s in moved[:4]) + (" …" if len(moved) > 4 else "")
    yield supports(
        DECISIVE if len(moved) >= 3 else STRONG,
        f"in evaluation {len(moved)} of {len(targets)} classes are recognised as another one, each as one of its own ({told}), "
        f"by {float(shares.min()):.0%} of their samples at least",
        tool="layer_analyzer",
        step=max(1, case.n_steps),
        moved=len(moved),
        classes=len(targets),
    )
    yield symptom(
        STRONG,
        f"training is right in {learned:.0%} over the run, evaluation in {accuracy:.0%}",
        training=learned,
        evaluation=accuracy,
    )


def _mapping(table: Floats) -> tuple[Ids, Ids, Floats]:
    """Classes that are clearly recognised as one class, that class, and the share of their samples."""
    counts = table.sum(axis=1)
    share = table.max(axis=1) / np.maximum(counts, 1.0)
    clear = np.flatnonzero((counts >= FEWEST) & (share >= SURE))
    return clear.astype(np.int64), table.argmax(axis=1)[clear].astype(np.int64), share[clear]


CAUSE = Cause(
    id="artifact.label_order_changed",
    title="Evaluation numbers the classes in another order than training",
    phase="eval",
    repair="Save the mapping from class names to numbers with the model and use it everywhere; sort names before numbering.",
    weigh=weigh,
    mistaken_for={
        "data.label_misaligned": "there training itself meets targets that do not belong to their inputs",
        "eval.preprocessing_mismatch": "there predictions scatter; here each class goes to exactly one other",
        "eval.overfit": "there held-out classes are confused with several others",
    },
    explains=("eval.overfit", "eval.preprocessing_mismatch", "data.label_misaligned", "eval.metric_bug"),
    intervention="evaluate with the mapping of training",
    next_measurement="table of confusions in evaluation",
    source="scikit-learn documentation of LabelEncoder",
)
