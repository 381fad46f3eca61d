"""Figures that the program itself printed: `epoch 3 loss 0.52 val acc 0.91`.

Untrusted text; only numbers leave this file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_PAIR = re.compile(
    r"([A-Za-z][A-Za-z_/\-.]*(?:[ _/\-][A-Za-z][A-Za-z_/\-.]*){0,2})\s*[:=(]?\s*"
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)\s*(%?)"
)
"""A label of up to three words and the number after it."""
_EVALUATION = re.compile(r"(?i)\b(val|valid|validation|test|eval|evaluation|dev|held)")
_ACCURACY = re.compile(r"(?i)\bacc\b|accuracy|_acc\b|\bacc_|\bscore\b|correct")
_LOSS = re.compile(r"(?i)loss|nll|mse|mae|rmse|ppl|perplexity|error|err\b")
_OFF = re.compile(r"(?i)deviation|residual|mape|distance|\boff\b|\bmiss(es)?\b|\bgap\b|difference")
"""Other words for how far a prediction is off, which nobody uses for a training loss."""
_SQUARED = re.compile(r"(?i)\br(?:\^|\*\*)?[2²](?:[ _]?score)?|\br[ _]squared")
"""R², in words that hold no digit: a digit ends a label."""
_EXPLAINED = re.compile(r"(?i)rsquared|explained")
_REWARD = re.compile(r"(?i)\b(reward|return|payoff|profit|win rate|wins)\b")
_PART = re.compile(r"(?i)\b(train|val|valid|test|eval)\b")
"""The data that a figure is of, where it stands alone."""
_COUNTER = re.compile(r"(?i)\b(epoch|step|iter|iteration|batch|lr|seed|fold|round|round)\b")


ROUNDING = 1e-3
"""What printing a full 100 % may add to it."""


@dataclass(frozen=True)
class Printed:
    """One printed figure."""

    evaluation: bool | None
    """None: the label does not say."""
    accuracy: bool
    loss: bool
    value: float
    reward: bool = False
    """What a policy is trained to earn."""
    error: bool = False
    """How far predictions are off, in whatever unit."""
    explained: bool = False
    """A share of explained variance: 1 is perfect, below 0 is worse than the mean; the same in every unit."""


def printed(text: str) -> list[Printed]:
    """All labelled figures in order. Percentages become shares."""
    found = []
    for line in text.splitlines()[-4000:]:
        pairs = _PAIR.findall(_SQUARED.sub("rsquared", line[:400]))
        line_is_evaluation = bool(_EVALUATION.search(line[:40])) and not re.search(r"(?i)train", line)
        has_loss = any(_LOSS.search(label) for label, _, _ in pairs)
        named = any(_ACCURACY.search(label) for label, _, _ in pairs)
        of_a_part = any(_LOSS.search(label) and _PART.search(label) for label, _, _ in pairs)  # so is the other part's
        for label, number, percent in pairs:
            if _COUNTER.search(label.split()[-1]) and not _ACCURACY.search(label):
                continue
            value = float(number)
            accuracy, loss = bool(_ACCURACY.search(label)), bool(_LOSS.search(label))
            bare = has_loss and not named and not of_a_part and bool(_PART.fullmatch(label.split()[-1]))
            if accuracy or (bare and 0.0 <= value <= 1.0):
                value = value / 100.0 if percent or value > 1.5 else value
                if 0.0 <= value <= 1.0:
                    found.append(Printed(_is_evaluation(label, line_is_evaluation), True, False, value))
            elif _EXPLAINED.search(label) and math.isfinite(value):
                share = value / 100.0 if percent else value
                found.append(Printed(_is_evaluation(label, line_is_evaluation), False, False, share, explained=True))
            elif _REWARD.search(label) and math.isfinite(value):
                found.append(Printed(_is_evaluation(label, line_is_evaluation), False, False, value, reward=True))
            elif (loss or _OFF.search(label)) and math.isfinite(value):
                found.append(Printed(_is_evaluation(label, line_is_evaluation), False, loss, value, error=True))
    return found


def impossible(text: str) -> list[float]:
    """Printed accuracies above 100 %, as shares."""
    pairs = (pair for line in text.splitlines()[-4000:] for pair in _PAIR.findall(line[:400]))
    found = [float(n) / 100.0 for label, n, percent in pairs if percent and _ACCURACY.search(label)]
    return [value for value in found if math.isfinite(value) and value > 1.0 + ROUNDING]


def _is_evaluation(label: str, line: bool) -> bool | None:
    if re.search(r"(?i)train", label):
        return False
    return True if line or _EVALUATION.search(label) else None
