"""What is visibly wrong, whatever the cause: a crash, non-finite values, divergence, a loss that does not move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aitia.engine.case import Case
from aitia.engine.records import RunStatus, Scalar

ENOUGH_STEPS = 30
"""Below this a flat loss says nothing yet."""
ROOM = 0.1
"""What guessing has to leave, so that an accuracy can tell learning from guessing."""
BOTTOMLESS = 1e3
"""Times its size at the start; a likelihood, or a critic's score, stays far above."""
WANTED = ("KeyboardInterrupt", "SystemExit")
"""Endings that somebody asked for."""


@dataclass(frozen=True)
class Symptom:
    """One visible sign, with what to measure when no cause explains it."""

    name: str
    statement: str
    step: int | None = None
    tool: str = "causal"
    values: Mapping[str, Scalar] = field(default_factory=dict)
    next_step: str = ""


def symptoms(case: Case) -> list[Symptom]:
    """All signs of trouble, worst first."""
    found = []
    failure = case.run.info.failure
    if failure is not None and failure.type not in WANTED and case.run.info.status is RunStatus.CRASHED:
        found.append(
            Symptom(
                "crash",
                f"the program ended in {failure.type}",
                case.n_steps + 1,
                "error_diagnoser",
                next_step="read the traceback: `aitia show RUN errors`",
            )
        )
    if _stays_nonfinite(case):
        step = case.nonfinite_step
        found.append(
            Symptom(
                "nonfinite",
                f"values became NaN or Inf at step {step}",
                step,
                "gradient_debugger",
                {"step": step},
                "record again with `--level deep` to pin the operation",
            )
        )
    elif _bottomless(case):
        found.append(
            Symptom(
                "bottomless",
                f"the loss fell from {case.loss.first:.4g} to {case.loss.last:.4g} and has no floor",
                None,
                "causal",
                {"first": case.loss.first, "last": case.loss.last},
                "check the sign of every term of the loss",
            )
        )
    elif case.diverged and case.loss.last > case.loss.first and _supervised(case):
        found.append(
            Symptom(
                "diverged",
                f"the loss rose from {case.loss.first:.4g} to {case.loss.last:.4g}",
                None,
                "causal",
                {"first": case.loss.first, "last": case.loss.last},
                "run again with a tenth of the learning rate and compare",
            )
        )
    elif _stuck(case):
        found.append(
            Symptom(
                "flat",
                f"the loss did not fall in {case.n_steps} steps ({case.loss.first:.4g} to {case.loss.last:.4g})",
                1,
                "causal",
                {"first": case.loss.first, "last": case.loss.last},
                "try to fit a single batch: if that fails, the model or the loss is wrong",
            )
        )
    elif _chance(case):
        best = float(np.max(case.eval_accuracy))
        found.append(
            Symptom(
                "chance",
                f"evaluation accuracy never left chance ({best:.2f} against {case.chance:.2f})",
                None,
                "causal",
                {"best": best, "chance": case.chance},
                "compare the statistics of training and evaluation inputs",
            )
        )
    return found


def _stays_nonfinite(case: Case) -> bool:
    """A loss that ended non-finite, or non-finite gradients that were not skipped by a scaler."""
    if case.nonfinite_step is None:
        return False
    if any(f.data.get("event") in {"built", "skip", "update"} for f in case.run.facts("scaler")):
        tail = case.loss.values[-5:]
        return bool(len(tail)) and not any(math.isfinite(v) for v in tail)
    return True


def _supervised(case: Case) -> bool:
    """One optimizer, and a loss whose value means error: that of a loss function, or one that is never below zero."""
    values = case.loss.values[np.isfinite(case.loss.values)]
    return len(case.run.optimizers) <= 1 and (bool(case.run.losses) or (len(values) > 0 and bool((values > 0).all())))


def _bottomless(case: Case) -> bool:
    """A loss that fell below zero by orders of magnitude more than it ever was above."""
    return case.loss.last < -BOTTOMLESS * max(1.0, abs(case.loss.start))


def _stuck(case: Case) -> bool:
    if not _supervised(case) or case.n_steps < ENOUGH_STEPS or not case.flat or case.learned:
        return False
    accuracy = case.accuracy(grad=True)
    if accuracy.n:
        room = 1.0 - case.chance
        return math.isfinite(room) and accuracy.last < case.chance + 0.15 * room
    return case.loss.last > 0 and case.loss.fall < 0.02


def _chance(case: Case) -> bool:
    train, held_out = case.accuracy(grad=True), case.eval_accuracy
    if not len(held_out) or not train.n or not math.isfinite(case.chance) or case.n_steps < ENOUGH_STEPS:
        return False
    room = 1.0 - case.chance
    if room < ROOM:
        return False  # where one class is nearly all, accuracy says nothing
    return float(np.max(held_out)) < case.chance + 0.08 * room and train.last > case.chance + 0.4 * room
