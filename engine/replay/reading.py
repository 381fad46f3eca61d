"""What a trial showed: its recording, read as the numbers that a verdict on a change rests on."""

from __future__ import annotations

import math

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import PRIOR
from aitia.engine.reason import Judgement, calibration, confidence, judge
from aitia.engine.records import Record, RunStatus
from aitia.engine.replay.replay import Played
from aitia.engine.store.reader import Run
from aitia.engine.symptoms import WANTED

MAY_FILL = frozenset({"data.nan_or_inf_input"})
"""Causes whose honest repair fills values that are missing in the data, before any layer sees them."""
SECOND_FAULT = 2.0
"""Log-odds above the bar that a cause needs which only the repaired run shows: two faults are rarer than one."""
CURVE_POINTS = 120
"""Enough for a picture; the recordings themselves are gone when the proof is over."""
OWN = 2.0
"""Within this factor of the training loss, a printed error may be that loss, averaged or of another batch."""
LAST = 5
"""Batches at the end that an outcome is read from."""


ONE_LOSS = 1.1
"""Backward passes for one step of every optimizer, up to what a last, shorter round may add."""


class Reading(Record):
    """What one trial showed."""

    label: str
    """`placebo`, `repaired`, `changed` or `mutant`."""
    cause: str = ""
    """The accused one."""
    seed: int = 0
    changes: tuple[str, ...] = ()
    """What was changed at run time, in words."""
    status: str = "nothing recorded"
    steps: int = 0
    log_odds: float = PRIOR
    """Belief in the accused cause from its own evidence."""
    seen: bool = False
    """Whether the mechanism itself was observed."""
    statement: str = ""
    """The mechanism's own measurement."""
    accused: tuple[str, ...] = ()
    """Causes that clear the bar."""
    surely: tuple[str, ...] = ()
    """Those of them that clear it by far enough to be a second fault."""
    symptoms: tuple[str, ...] = ()
    failure: str | None = None
    """Class of the exception that ended it, and its message."""
    loss_first: float | None = None
    loss_last: float | None = None
    accuracy: float | None = None
    """Last accuracy that was recomputed, in evaluation where there is one."""
    explained: float | None = None
    """Share of the targets' variance that training explains at the end, where errors are squared: without a unit."""
    fixed_target: bool = True
    """Whether the loss measures against something that stays: no opponent, no target that a network makes, no sign."""
    reward: float | None = None
    """What the program printed last of what its policy earns."""
    told: float | None = None
    """The largest of the last errors that the program itself printed, besides its training loss."""
    scored: float | None = None
    """The smallest of the last shares of explained variance that the program itself printed: the same in every unit."""
    evaluates: bool = True
    """Whether the program asks the model for anything beside its training."""
    sees_past: bool = True
    """Whether later outputs of a sequence depend on earlier inputs, where that was tried."""
    recall: float | None = None
    """Mean recall over the classes, in evaluation where there is one."""
    optimizers: int = 1
    learned: bool = True
    """Whether loss or accuracy of training clearly improved."""
    same_as_recorded: bool = False
    """Whether every loss is bit for bit that of the recorded run."""
    hidden: tuple[str, ...] = ()
    """Places at which a value that is not finite was replaced by one that is."""
    seconds: float = 0.0
    losses: tuple[float | None, ...] = ()
    """The loss over the run, thinned out; None where it is not finite."""


def read(played: Played, cause: str, recorded: Run) -> Reading:
    """The measurements of one trial that the verdict rests on."""
    trial, run = played.trial, played.run
    base = {"label": trial.label, "cause": cause, "seed": trial.seed, "seconds": played.seconds,
            "changes": tuple(c.sentence for c in trial.changes)}  # fmt: skip
    if run is None:
        return Reading(**base, failure=_last_line(played.output))
    case = Case(run)
    judgement = judge(case)
    suspect = next((s for s in judgement.suspects if s.cause.id == cause), None)
    mechanism = None if suspect is None else next((w for w in suspect.weights if w.mechanism and w.strength > 0), None)
    failure = run.info.failure
    crashed = failure is not None and run.info.status is RunStatus.CRASHED and failure.type not in WANTED
    return Reading(
        **base,
        status="timeout" if played.code is None else run.info.status.value,
        steps=run.n_steps,
        log_odds=PRIOR if suspect is None else round(suspect.raw, 2),
        seen=suspect is not None,
        statement="" if mechanism is None else mechanism.statement,
        accused=accused(judgement),
        surely=accused(judgement, SECOND_FAULT),
        symptoms=tuple(s.name for s in judgement.symptoms),
        failure=f"{failure.type}: {failure.message}"[:200] if failure is not None and crashed else None,
        loss_first=_number(case.loss.first),
        loss_last=_number(case.loss.last),
        accuracy=_accuracy(case),
        recall=_recall(case),
        explained=_explained(case),
        told=_told(case),
        scored=_scored(case),
        evaluates=bool((case.run.table("batch")["grad"] == 0).any()),
        reward=_reward(case),
        fixed_target=_fixed_target(case),
        sees_past=all(f.data.get("sees_past") is not False for f in case.probes.get("causal", [])),
        same_as_recorded=same_losses(run, recorded),
        optimizers=len(run.optimizers),
        learned=case.learned,
        losses=_thinned(case),
        hidden=tuple(f.subject for f in run.facts("masked") if cause not in MAY_FILL or not f.data.get("in_data")),
    )


def accused(judgement: Judgement, above: float = 0.0) -> tuple[str, ...]:
    """Causes that clear the bar by so many log-odds and are no mere links."""
    bar = calibration()["bar"]
    return tuple(s.cause.id for s in judgement.suspects if confidence(s.score - above) >= bar)


def same_losses(run: Run, recorded: Run) -> bool:
    """Whether the losses of both runs agree bit for bit, as far as the shorter one goes."""
    mine, theirs = run.table("backward")["loss"], recorded.table("backward")["loss"]
    n = min(len(mine), len(theirs))
    return n > 0 and bool(np.array_equal(mine[:n], theirs[:n], equal_nan=True))


def _told(case: Case) -> float | None:
    loss = abs(case.loss.last)
    errors = [abs(p.value) for p in case.log if p.error and not loss / OWN < abs(p.value) < OWN * loss]
    return _number(max(errors[-LAST:])) if errors else None


def _scored(case: Case) -> float | None:
    shares = [p.value for p in case.log if p.explained and p.evaluation is not False]
    return _number(min(shares[-LAST:])) if shares else None


def _reward(case: Case) -> float | None:
    earned = [p.value for p in case.log if p.reward]
    return _number(float(np.mean(earned[-LAST:]))) if earned else None


def _fixed_target(case: Case) -> bool:
    values = case.per_backward.values
    made = any(call.letter in "eE" for call in case.main_signature)
    shared = case.n_backward <= ONE_LOSS * case.n_steps  # one loss for all optimizers: none works against another
    return (len(case.run.optimizers) == 1 or shared) and not made and not bool((values[np.isfinite(values)] < 0).any())


def _accuracy(case: Case) -> float | None:
    held_out = case.eval_accuracy
    if len(held_out):
        return _number(float(held_out[-1]))
    return _number(case.accuracy(grad=True).last)


def _recall(case: Case) -> float | None:
    table = case.confusion(grad=False)
    table = table if table is not None else case.confusion(grad=True)
    if table is None:
        return None
    counts = table.sum(axis=1)
    there = counts > 0
    return _number(float(np.mean(np.diag(table)[there] / counts[there]))) if there.any() else None


def _explained(case: Case) -> float | None:
    for site in case.run.losses:
        rows = case.calls(grad=True, site=site.index)
        if site.function != "mse_loss" or len(rows["value"]) < LAST:
            continue
        left, spread = nanmedian(rows["value"][-LAST:]), nanmedian(rows["target_std"][-LAST:]) ** 2
        if spread > 0:
            return _number(float(1 - left / spread))
    return None


def _thinned(case: Case) -> tuple[float | None, ...]:
    values = case.per_backward.values
    every = max(1, -(-len(values) // CURVE_POINTS))
    return tuple(_number(float(v)) for v in values[::every])


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it left no recording and printed nothing"
