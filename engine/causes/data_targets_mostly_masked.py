"""Most samples have no target that counts.

Healthy twins: prompts with a short answer (few targets count, but every sample has one).
Source: huggingface/trl PR 6671.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

SLIVER = 0.08
"""Below this share of counted targets nearly all compute goes into positions that teach nothing."""


MISSING = 0.2
"""Share of samples without any target from which on something takes them away: an answer belongs to every sample."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of valid targets per batch, and batches without any."""
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        valid = rows["valid_share"][np.isfinite(rows["valid_share"])]
        if len(valid) < 5 or (valid == 0).mean() > 0.95:
            continue
        share, empty = float(np.mean(valid)), float((valid == 0).mean())
        answered = rows.get("valid_rows", np.empty(0))
        known = bool(np.isfinite(answered).any())
        without = 1 - float(np.nanmean(answered)) if known else 0.0
        if without > MISSING or empty > 0.2 or (share < SLIVER and not known):
            unanswered = f", {100 * without:.0f} % of the samples" if known else ""
            yield supports(
                DECISIVE if empty > 0.05 or without > MISSING else MODERATE,
                f"only {100 * share:.1f} % of the targets of {site.function} count;{unanswered} and {100 * empty:.0f} % of the "
                "batches have none at all".replace(";,", ";"),
                tool="layer_analyzer",
                step=1,
                where=case.site_place(site.index),
                valid_share=share,
                empty_batches=empty,
            )
            if np.isnan(rows["value"]).any():
                yield symptom(
                    MODERATE, "the loss of batches without targets is NaN", nan_calls=int(np.isnan(rows["value"]).sum())
                )
            return


CAUSE = Cause(
    id="data.targets_mostly_masked",
    title="Almost all targets are masked out, so the loss rests on very few positions",
    phase="data",
    repair="Raise the maximum length or repair the template search so that the response survives; refuse batches without targets.",
    weigh=weigh,
    mistaken_for={"data.supervision_field_dropped": "there no target is valid at all"},
    explains=("numerics.divide_by_zero_scale",),
    intervention="none at run time",
    next_measurement="share of valid targets against sequence length",
    source="huggingface/trl PR 6671",
)
