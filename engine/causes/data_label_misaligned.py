"""Features and labels come from different rows: what is learned is memorised, and holds for nothing else.

Source: Borda/kaggle_image-classify PR 12; SO 46136553, 47866803, 41864333.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.records import Fact

MANY = 200
"""Samples without which nearest neighbours in several dimensions are too far away to tell."""
FEWEST = 20
"""Held-out samples in a call whose mean and spread can be trusted."""
REPEATS = 12
"""Samples that came more than once, from which on their labels tell whether pairs hold."""
ERRORS = 2.0
"""Standard errors of shuffled targets within which inputs tell nothing."""
UNPREDICTED = 0.03
"""Share of the variance that a model which learned anything at all predicts."""


def weigh(case: Case) -> Iterator[Weight]:
    """Nearest neighbours share labels no more often than strangers, and evaluation never leaves chance."""
    fact = case.run.fact("sample_neighbours")
    if fact is None or not _one_label_each(case):
        return
    if fact.data.get("unexplained") is not None:
        yield from _values(case, fact)
        return
    agreement, chance, n = (float(fact.data.get(k) or math.nan) for k in ("agreement", "chance", "n"))
    if not n >= 60 or not math.isfinite(agreement) or not chance < 0.9:
        return
    error = math.sqrt(max(chance * (1 - chance), 1e-6) / n)
    lift = (agreement - chance) / max(1.0 - chance, 1e-6)
    held_out = case.eval_accuracy
    train = case.accuracy(grad=True)
    if agreement < chance + max(3 * error, 0.08 * (1 - chance)):
        best = float(np.median(held_out)) if len(held_out) else math.nan  # the highest of many is luck
        learned = best > chance + 0.25 * (1 - chance)
        if learned:
            yield against(DECISIVE, f"evaluation stands at {best:.2f}, well above chance {chance:.2f}", accuracy=best)
            return
        at_chance = len(held_out) > 0 and best < chance + 0.15 * (1 - chance)
        memorises = train.n > 5 and train.last > chance + 0.25 * (1 - chance)
        near = memorises or not case.kinds("rnn", "attention", "embedding")  # of sequences few places may decide
        yield supports(
            STRONG if at_chance and near else MODERATE,
            f"the nearest neighbour of a training sample has the same label in {100 * agreement:.0f} % of {n:.0f} "
            f"samples; chance is {100 * chance:.0f} %: labels do not go with the features",
            tool="layer_analyzer",
            step=1,
            agreement=agreement,
            chance=chance,
            n=n,
        )
        again, same = (float(fact.data.get(k) or 0.0) for k in ("n_repeated", "repeated_agreement"))
        if again >= REPEATS and same < chance + 0.25 * (1 - chance) and not case.learned and _tells_apart(case, fact):
            yield supports(
                STRONG,
                f"of {again:.0f} samples that came again, {100 * (1 - same):.0f} % came with another label: what they are "
                "paired with changes while it trains",
                tool="layer_analyzer",
                step=1,
                repeated=again,
                agreement=same,
            )
        if at_chance:
            yield symptom(
                MODERATE,
                f"evaluation accuracy never left chance ({best:.2f} in the median, against {chance:.2f})",
                best=best,
                chance=chance,
            )
        if memorises and at_chance:
            yield symptom(
                MODERATE,
                f"training accuracy moves to {train.last:.2f} all the same: memorised",
                accuracy=train.last,
            )
    elif lift > 0.3:
        yield against(
            STRONG,
            f"nearest neighbours share labels in {100 * agreement:.0f} % of the samples (chance {100 * chance:.0f} %)",
            agreement=agreement,
            chance=chance,
        )


def _tells_apart(case: Case, fact: Fact) -> bool:
    """Whether equal samples are equal in all they hold, and labels are classes: not an order of tokens, nor places in a batch."""
    rows = case.run.table("batch")
    places = float(fact.data.get("classes") or 0) >= nanmedian(rows["n"][rows["grad"] == 1])
    return not places and not case.kinds("rnn", "attention", "embedding")


def _values(case: Case, fact: Fact) -> Iterator[Weight]:
    """Targets that are numbers: near inputs have no nearer targets, and held-out ones are predicted no better than by the mean."""
    left, error, n = (float(fact.data.get(k) or math.nan) for k in ("unexplained", "unexplained_error", "n"))
    evaluated = case.calls(grad=False)
    spread = evaluated["target_std"] ** 2
    mean_squares = [s.index for s in case.run.losses if s.function == "mse_loss"]
    ok = np.isin(evaluated["site"], mean_squares) & (spread > 0) & (evaluated["n"] >= FEWEST)
    if not n >= MANY or ok.sum() < 3 or left < 1 - ERRORS * error:
        return
    late = slice(-max(3, int(ok.sum()) // 3), None)
    worse = float(np.mean(evaluated["value"][ok][late]) / np.mean(spread[ok][late]))
    if not worse > 1 - UNPREDICTED:
        return
    yield supports(
        STRONG,
        f"near inputs have targets as different as those of any two samples ({100 * left:.0f} % of the spread, over {n:.0f} "
        f"samples): targets do not go with the features",
        tool="layer_analyzer",
        step=1,
        unexplained=left,
        n=n,
    )
    yield symptom(
        MODERATE,
        f"held-out targets are predicted no better than by their mean ({worse:.2f} of their variance is left)",
    )


def _one_label_each(case: Case) -> bool:
    """Whether each sample has one label: in token models many targets belong to one input."""
    batch, calls = case.run.table("batch"), case.calls(grad=True)
    samples, targets = nanmedian(batch["n"][batch["grad"] == 1]), nanmedian(calls["n"])
    return not case.run.facts("alignment") and samples == targets


CAUSE = Cause(
    id="data.label_misaligned",
    title="Features and labels are out of step: each sample has another sample's label",
    phase="data",
    repair="Permute, filter and join features and labels together (one index for both).",
    weigh=weigh,
    mistaken_for={
        "eval.overfit": "there evaluation starts above chance",
        "data.label_noise": "there most labels still agree with their neighbours",
        "eval.preprocessing_mismatch": "there training data are consistent and only evaluation differs",
    },
    explains=("eval.overfit", "eval.underfit_stopped_early", "model.capacity_bottleneck"),
    intervention="none at run time: labels cannot be guessed",
    next_measurement="nearest-neighbour label agreement on the training set",
    source="Borda/kaggle_image-classify PR 12",
)
