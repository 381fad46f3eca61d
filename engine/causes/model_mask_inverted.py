"""An attention mask with the wrong sign: padding is seen, and the words are hidden.

Seen as: a loss at chance although the attention layers have gradients, or NaN in rows without padding.
Source: DEFault++ masking cases; pytorch/pytorch PR 71502.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

SEVERAL = 3
"""Different tokens that are hidden; padding is one token, and a start or end mark may stand beside it."""


def weigh(case: Case) -> Iterator[Weight]:
    """What stands at the keys that attention may see, and at those it may not."""
    for fact in case.run.facts("attention_mask"):
        seen, hidden = int(fact.data.get("distinct_visible") or 0), int(fact.data.get("distinct_hidden") or 0)
        if seen != 1 or hidden < SEVERAL:
            continue
        attention = case.kinds("attention")
        yield supports(
            DECISIVE,
            f"attention sees {fact.data.get('n_visible')} keys that all hold the same token, and {fact.data.get('n_hidden')} keys with "
            f"{hidden} different ones are hidden from it: the mask is the wrong way round",
            tool="layer_analyzer",
            subject=attention[0].name if attention else None,
            step=1,
            where=case.place(fact),
            visible=int(fact.data.get("n_visible") or 0),
            hidden=int(fact.data.get("n_hidden") or 0),
            distinct_hidden=hidden,
        )
        if int(fact.data.get("no_key") or 0) > 0:
            yield symptom(
                MODERATE,
                f"{fact.data.get('no_key')} of {fact.data.get('n_rows')} samples are left without any visible key",
            )
        return


CAUSE = Cause(
    id="model.mask_inverted",
    title="The attention mask is inverted: padding is attended and content hidden",
    phase="forward",
    repair="Invert the mask (key_padding_mask is True where a key is to be ignored; attn_mask of scaled_dot_product_attention is True where it counts).",
    weigh=weigh,
    mistaken_for={"model.causal_leak": "there the mask hides too little, here it hides the wrong keys"},
    explains=(
        "model.dead_units",
        "model.no_position_signal",
        "model.capacity_bottleneck",
        "numerics.divide_by_zero_scale",
        "numerics.exp_overflow",
        "eval.underfit_stopped_early",
        "data.label_misaligned",
    ),
    intervention="invert the mask",
    next_measurement="tokens at visible and at hidden keys",
    source="pytorch/pytorch PR 71502",
)
