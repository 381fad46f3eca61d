"""Model selection in the wrong direction: the state with the largest loss is kept, or training stops when it improves.

Healthy twins: selection by accuracy while the loss rises, states kept at regular intervals, the start kept for a restart.
Source: backdoors101 PR 26.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aitia.engine.case import Case, Floats
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import Fact

FEWEST = 4
"""Evaluations below which a direction cannot be seen."""
WORSE = 1.15
"""The kept evaluation's loss over the best one's: less is the noise of evaluations."""


def weigh(case: Case) -> Iterator[Weight]:
    """After which evaluations a state was taken, against the records of the evaluation loss and accuracy."""
    loss, accuracy = case.eval_curve("value"), case.eval_curve("accuracy")
    for fact in case.run.facts("states_taken"):
        steps = np.asarray(fact.data.get("steps") or [], dtype=np.int64)
        if loss.n < FEWEST or loss.n != len(loss.values) or (accuracy.n and accuracy.n != loss.n):
            continue
        kept = np.isin(loss.steps, steps)
        if not kept.any() or kept.sum() > 0.7 * loss.n:
            continue  # never, or at every evaluation
        up, down = _records(loss.values, up=True), _records(loss.values, up=False)
        better = _records(accuracy.values, up=True) if accuracy.n else down
        last = int(np.flatnonzero(kept)[-1])
        best = int(np.argmin(loss.values))
        if not (kept == up).all() or (kept == down).all() or (kept == better).all():
            continue
        restored = _restored(case, fact)
        as_accurate = accuracy.n and accuracy.values[last] >= accuracy.values[best]
        if not restored and (as_accurate or loss.values[last] < WORSE * loss.values[best]):
            continue
        yield supports(
            STRONG + WEAK,
            f"a state was kept after exactly those of {loss.n} evaluations whose loss was the largest so far; the last one kept "
            f"has {loss.values[last]:.3g} (step {loss.steps[last]}), the best evaluation {loss.values[best]:.3g} "
            f"(step {loss.steps[best]})",
            tool="memory_tracker",
            step=int(loss.steps[last]),
            where=case.place(fact),
            kept=float(loss.values[last]),
            best=float(loss.values[best]),
        )
        if restored:
            yield symptom(WEAK, "and that state was loaded back when training had ended")
        if last + 1 < loss.n and len(loss.values) - 1 - best <= 1:
            yield symptom(MODERATE, "training ended while evaluations were still getting better")
        return


def _restored(case: Case, taken: Fact) -> bool:
    """Whether a state went back into the model after its last step: then the one that was kept is what is used."""
    return any(
        f.data.get("root") == taken.data.get("root") and f.step >= case.n_steps
        for f in case.run.facts("load_state_dict")
    )


def _records(values: Floats, *, up: bool) -> npt.NDArray[np.bool_]:
    """Which values are the best so far; the first one always is."""
    signed = values if up else -values
    before = np.r_[-np.inf, np.maximum.accumulate(signed)[:-1]]
    found: npt.NDArray[np.bool_] = signed > before
    return found


CAUSE = Cause(
    id="eval.early_stop_wrong_direction",
    title="Model selection looks in the wrong direction: the worst state is kept",
    phase="eval",
    repair="Keep the smallest loss (mode='min') or the largest accuracy (mode='max'), and initialise the best value to match.",
    weigh=weigh,
    mistaken_for={
        "artifact.best_state_aliased": "there the right moment is chosen, without a copy",
        "eval.underfit_stopped_early": "there nothing is selected",
    },
    explains=("eval.underfit_stopped_early",),
    intervention="turn the comparison round",
    next_measurement="evaluation loss at the steps whose states were kept",
    source="backdoors101 PR 26",
)
