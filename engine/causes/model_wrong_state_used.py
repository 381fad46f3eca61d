"""A recurrent model whose answer comes from a state that has not seen the sequence.

Source: SO 46705634.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, STRONG, WEAK, Cause, Weight, supports

NEXT_TO_NOTHING = 1e-3
"""What follows the state that is read leaves the answer alone; in padded sequences only the very end does."""
MUCH = 0.3
"""Share of zeros in what a recurrent layer reads, as an embedding makes them of padding."""


def weigh(case: Case) -> Iterator[Weight]:
    """On a copy: later inputs were changed and the answer did not move."""
    if not case.kinds("rnn"):
        return
    for fact in case.probes.get("later_inputs", []):
        part = {k: float(v or 0.0) for k, v in (fact.data.get("sensitivity") or {}).items()}
        first, middle, last = (part.get(k, math.nan) for k in ("first", "middle", "last"))
        cut = fact.data.get("late_matters") is False and not middle > NEXT_TO_NOTHING * first
        if fact.data.get("only_first_position_matters") is True or cut:
            yield supports(
                DECISIVE,
                "changing everything after the first positions of the sequence leaves the answer as it was: the state "
                "that is used has not seen them",
                tool="layer_analyzer",
                subject=case.kinds("rnn")[-1].name,
                step=1,
                change=float((fact.data.get("sensitivity") or {}).get("last") or 0.0),
            )
            return
        padded = max((nanmedian(case.layer_series(x, "in_zero_share")) for x in case.kinds("rnn")), default=0.0)
        if padded > MUCH and not case.learned and first + middle < 0.02 * last:
            yield supports(
                STRONG + WEAK,
                f"the answer depends on the end of the sequence alone (changing the rest moves it by {first + middle:.2g}, the "
                f"end by {last:.2g}), and {100 * padded:.0f} % of what the recurrent layer reads is padding: the state is taken "
                "after it",
                tool="layer_analyzer",
                subject=case.kinds("rnn")[-1].name,
                step=1,
                padded=padded,
            )
            return


CAUSE = Cause(
    id="model.wrong_state_used",
    title="The classifier reads a recurrent state that has not seen the whole sequence",
    phase="forward",
    repair="Use the state of the last valid step (output[:, -1], or h_n[-1]), with the right axis for batch_first.",
    weigh=weigh,
    mistaken_for={"model.capacity_bottleneck": "there later inputs do change the answer"},
    explains=(
        "numerics.vanishing_gradient",
        "eval.underfit_stopped_early",
        "model.capacity_bottleneck",
        "graph.bptt_cut_or_grown",
    ),
    intervention="read the last state",
    next_measurement="dependence of the answer on each position",
    source="SO 46705634",
)
