"""A recurrent model whose answer comes from a state that has not seen the sequence.

Source: SO 46705634.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """On a copy: later inputs were changed and the answer did not move."""
    if not case.kinds("rnn"):
        return
    for fact in case.probes.get("later_inputs", []):
        if fact.data.get("only_first_position_matters") is True or fact.data.get("late_matters") is False:
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


CAUSE = Cause(
    id="model.wrong_state_used",
    title="The classifier reads a recurrent state that has not seen the whole sequence",
    phase="forward",
    repair="Use the state of the last valid step (output[:, -1], or h_n[-1]), with the right axis for batch_first.",
    weigh=weigh,
    mistaken_for={"model.capacity_bottleneck": "there later inputs do change the answer"},
    explains=("eval.underfit_stopped_early", "model.capacity_bottleneck", "graph.bptt_cut_or_grown"),
    intervention="read the last state",
    next_measurement="dependence of the answer on each position",
    source="SO 46705634",
)
