"""Dropout that does not listen to eval().

Source: pytorch-fm#21; pytorch/pytorch#124464.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, WEAK, Cause, Weight, supports, symptom

MASKS = ("bernoulli", "native_dropout", "dropout", "_fused_dropout", "_scaled_dot_product")
"""Operations that draw a dropout mask; noise that is drawn on purpose (a latent sample) is normal or uniform."""


def weigh(case: Case) -> Iterator[Weight]:
    """On a copy in eval mode: two forwards of the same batch differ."""
    for fact in case.probes.get("two_evals", []):
        drawn = [str(name) for name in fact.data.get("drawn_by") or []]
        if fact.data.get("differ") is True and any(name.startswith(MASKS) for name in drawn):
            change = float(fact.data.get("difference") or 0.0)
            yield supports(
                DECISIVE,
                f"in eval mode two forwards of the same batch differ (by {change:.2g}): a mask is still drawn by "
                f"{', '.join(drawn)}",
                tool="layer_analyzer",
                subject=str(fact.data.get("layer") or "") or None,
                step=1,
                change=change,
            )
            if any(x.kind == "dropout" for x in case.run.layers):
                yield symptom(WEAK, "registered dropout layers are off in eval mode")
            return


CAUSE = Cause(
    id="eval.functional_dropout_always_on",
    title="Functional dropout stays on in eval mode",
    phase="eval",
    repair="Pass training=self.training to F.dropout (dropout_p=0 in eval for attention), or use nn.Dropout.",
    mistaken_for={"eval.mode_not_eval": "there eval() is never called"},
    explains=("eval.overfit", "eval.underfit_stopped_early"),
    intervention="disable dropout in eval",
    interventions=("no_dropout_in_evaluation",),
    next_measurement="two evaluations of the same batch",
    weigh=weigh,
    source="pytorch/pytorch#124464",
)
