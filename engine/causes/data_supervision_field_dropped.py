"""Every target is masked: the loss has nothing to learn from.

Source: huggingface/transformers#25054; huggingface/trl#6668.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports

STEADY = 0.9
"""Share of the steps that make the same number of calls, where calls stand for different heads."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of valid targets exactly 0 at a loss site, batch after batch."""
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        valid = _emptiest(rows["step"], rows["valid_share"])
        valid = valid[np.isfinite(valid)]
        if len(valid) >= 3 and (valid == 0).mean() > 0.95:
            yield supports(
                DECISIVE,
                f"{site.function} had no valid target in {len(valid)} calls: every target is ignore_index",
                tool="layer_analyzer",
                step=1,
                where=case.site_place(site.index),
                calls=len(valid),
                valid_share=0.0,
            )
            head = _silent_head(case)
            if head:
                yield supports(
                    STRONG,
                    f"the gradient of {head} is exactly 0 (present, not absent)",
                    tool="gradient_debugger",
                    subject=head,
                )
            return


def _emptiest(steps: Floats, valid: Floats) -> Floats:
    """Of a call that a step makes several times (one for each head), the turn with the fewest targets."""
    _, counts = np.unique(steps, return_counts=True)
    turns = int(np.median(counts)) if len(counts) else 1
    if turns < 2 or (counts == turns).mean() < STEADY:
        return valid
    whole = np.isin(steps, np.unique(steps)[counts == turns])
    return min((valid[whole][i::turns] for i in range(turns)), key=lambda v: float(np.nansum(v)))


def _silent_head(case: Case) -> str | None:
    present, norm = case.param("grad_present"), case.param("grad_norm")
    for p in case.trainable:
        if p.index < norm.shape[1]:
            seen = present[:, p.index] == 1
            if seen.sum() > 3 and np.nanmax(np.where(seen, norm[:, p.index], 0)) == 0:
                return case.owner(p.name)
    return None


CAUSE = Cause(
    id="data.supervision_field_dropped",
    title="The targets of a loss term were dropped: every one of them is the ignored value",
    phase="data",
    repair="Keep the label field through filtering, renaming and collating, and assert that some targets are valid.",
    weigh=weigh,
    mistaken_for={"data.targets_mostly_masked": "there a few targets are left"},
    explains=(
        "data.targets_mostly_masked",
        "numerics.divide_by_zero_scale",
        "graph.detached_term",
        "loss.term_dominates",
    ),
    intervention="none at run time",
    next_measurement="share of valid targets per batch",
    source="huggingface/transformers#25054",
)
