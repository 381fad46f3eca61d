"""A sequence model trained to predict the next token can see it.

Source: Karpathy; pytorch/pytorch#103082.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """On a copy: a later token was changed and an earlier output moved - in a model whose targets are its later inputs."""
    shifted = False
    for fact in case.run.facts("alignment"):
        table = {int(k): float(v) for k, v in (fact.data.get("match_by_offset") or {}).items()}
        own = not fact.data.get("input")  # of a decoder, the probe would change what it may see as a whole
        shifted |= own and table.get(1, 0.0) > 0.9
    if not shifted:
        return
    for fact in case.probes.get("causal", []):
        if fact.data.get("leak") is True:
            change = float(fact.data.get("difference") or 0.0)
            yield supports(
                DECISIVE,
                f"changing a later token changes earlier outputs (by {change:.2g}) although the targets are the next "
                "tokens: the answer is visible",
                tool="layer_analyzer",
                subject=str(fact.data.get("layer") or "") or None,
                step=1,
                change=change,
            )
            if case.accuracy(grad=True).n and case.accuracy(grad=True).last > 0.95:
                yield symptom(
                    MODERATE,
                    f"training accuracy is {case.accuracy(grad=True).last:.2f}",
                    accuracy=case.accuracy(grad=True).last,
                )
            return


CAUSE = Cause(
    id="model.causal_leak",
    title="The model sees the tokens it should predict: the causal mask is missing or wrong",
    phase="forward",
    repair="Mask the future in attention (is_causal=True or an upper-triangular mask), and do not use bidirectional layers.",
    weigh=weigh,
    mistaken_for={"data.label_shift_error": "there the targets are shifted wrongly"},
    explains=("eval.overfit",),
    intervention="mask the future",
    next_measurement="dependence of output t on inputs after t",
    source="pytorch/pytorch#103082",
)
