"""Next-token targets shifted twice, or not at all.

Source: huggingface/transformers#47394, PR 37830, PR 46898; #27517.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """At which offset the targets equal the inputs, seen at the loss."""
    for fact in case.run.facts("alignment"):
        table = {int(k): float(v) for k, v in (fact.data.get("match_by_offset") or {}).items()}
        if not table:
            continue
        best = max(table, key=lambda k: table[k])
        if table[best] < 0.9 or best == 1:
            continue
        if best >= 2:
            yield supports(
                DECISIVE,
                f"the targets are the inputs {best} positions later ({100 * table[best]:.0f} % match; at 1 position "
                f"{100 * table.get(1, 0.0):.0f} %): shifted {best} times",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                offset=best,
                match=table[best],
            )
        elif best == 0:
            train = case.accuracy(grad=True)
            solved = train.n > 5 and train.last > 0.9
            yield supports(
                DECISIVE if solved else STRONG,
                f"the targets equal the inputs at the same position ({100 * table[0]:.0f} % "
                "match): the model is trained to copy",
                tool="layer_analyzer",
                step=1,
                where=case.place(fact),
                offset=0,
                match=table[0],
            )
            if solved:
                yield symptom(MODERATE, f"and it does: accuracy {train.last:.2f}", accuracy=train.last)
        return


CAUSE = Cause(
    id="data.label_shift_error",
    title="The targets of the language model are shifted by the wrong number of positions",
    phase="data",
    repair="Shift exactly once: either in the data or in the loss.",
    weigh=weigh,
    mistaken_for={"model.causal_leak": "there the shift is right and the model sees the future"},
    explains=("eval.underfit_stopped_early", "model.causal_leak", "model.capacity_bottleneck"),
    intervention="shift the targets by one",
    next_measurement="match of targets with inputs by offset",
    source="huggingface/transformers PR 37830",
)
