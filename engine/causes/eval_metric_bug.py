"""The printed metric does not measure what it says.

Source: SO 62354952, 56841451; cnn-text-classification-tf#136.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, Floats, nanmedian, phase_means
from aitia.engine.causes import eval_mode_not_eval, eval_preprocessing_mismatch
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom
from aitia.engine.printed import impossible
from aitia.engine.records import Fact

FAR = 0.15
"""Printed and recomputed accuracy differ by more than batch effects can explain."""

WELL = 0.7
BELOW = 0.4
"""Share of what guessing gives; a model that learned something else still hits about as much as guessing."""
AT_CHANCE = 0.08
WAVERS = 0.2
"""Spread of a ratio, against itself, that batches of another size make."""
CLOSE = 0.01
"""Difference of two accuracies that are the same figure."""
MANY = 6
"""Evaluations at the end among which it is looked for."""
AGREE = 0.5
"""Share of the way from chance to 1 that labels of nearest neighbours agree, where a model can learn from them."""
ROUNDED = 1e-4
"""Difference that printing with four digits makes."""
FEWEST = 4
"""Equal printed values in a row that are no chance."""


def weigh(case: Case) -> Iterator[Weight]:
    """Accuracies in the program's own log against those recomputed from what entered the loss in the same phase."""
    certain = [*_miscounted(case), *_crossed(case)]
    yield from certain
    recomputed = case.eval_curve("accuracy")
    if certain:
        return
    counted = recomputed if recomputed.n or not _matched(case) else case.hits
    for evaluation, ours in ((True, counted), (False, case.accuracy(grad=True))):
        if evaluation and _another_model(case):
            continue  # whose accuracy is printed is not known
        printed = _printed(case, evaluation=evaluation)
        if evaluation:  # what the program compares is what it prints, whatever it calls it
            printed = printed or case.hits.values.tolist()
        if printed and not ours.n:
            yield from (
                _without_loss(case, printed) if evaluation and case.accuracy(grad=True).n else _never(case, printed)
            )
            continue
        if not printed or ours.n < 1 or ours.steps[-1] < 0.8 * case.n_steps:
            continue
        last = float(np.median(printed[-3:]))
        gap = abs(last - ours.last)
        if evaluation and _among(case, last):
            continue  # of several evaluations it is another one's
        if ours is case.hits and not _proportional(printed, ours.values):
            continue  # another figure: a gain, a recall, a score
        if (len(printed) < 2 or ours.n < 2) and gap < 2 * FAR:
            continue  # of a single value more is asked
        constant = (
            float(np.ptp(printed)) < 0.02 and ours.highest - float(ours.values[np.isfinite(ours.values)][0]) > 0.2
        )
        if gap < FAR and not (constant and gap > 0.1):
            continue
        yield supports(
            STRONG,
            f"the program prints an accuracy of {last:.3f}, but "
            f"{'what entered the loss' if recomputed.n or not evaluation else 'its own comparison of predictions with labels'} "
            f"gives {ours.last:.3f}" + (" (the printed value does not move)" if constant else ""),
            tool="error_diagnoser",
            printed=last,
            recomputed=ours.last,
            gap=gap,
        )
        if last < ours.last and _many_targets(case):
            yield against(
                STRONG,
                "each sample has several targets: an accuracy that asks for all of them at once is lower by its nature",
            )
        if case.learned:
            yield symptom(MODERATE, f"the loss falls from {case.loss.first:.3g} to {case.loss.last:.3g} all the while")
        return


def _proportional(printed: list[float], hits: Floats) -> bool:
    """Whether the printed figure is the hits, counted over another number of samples."""
    n = min(len(printed), len(hits))
    if n < FEWEST:
        return False
    ratios = np.asarray(printed[-n:]) / np.maximum(hits[-n:], 1e-6)
    return bool(np.std(ratios) < WAVERS * np.mean(ratios))


def _among(case: Case, value: float) -> bool:
    """Whether some evaluation near the end has that accuracy: a program may evaluate on more than one set."""
    calls = case.calls(grad=False)
    late = calls["step"] >= 0.8 * case.n_steps
    known = [*calls["accuracy"][late], *case.eval_curve("accuracy").values[-MANY:]]
    for site in {int(s) for s in calls["site"][late]}:
        own = phase_means({k: v[calls["site"] == site] for k, v in calls.items()}, "accuracy").values
        known += own[-MANY:].tolist()
    return any(abs(v - value) < CLOSE for v in known)


def _miscounted(case: Case) -> Iterator[Weight]:
    """More hits than samples."""
    over = impossible(case.run.log_tail())
    if over:
        yield supports(
            DECISIVE,
            f"the program prints an accuracy of {100 * over[-1]:.0f} %: hits and samples are not counted over the same batches",
            tool="error_diagnoser",
            printed=over[-1],
            times=len(over),
        )


def _crossed(case: Case) -> Iterator[Weight]:
    """Comparisons that no accuracy can be made of: every prediction with every label, or the argmax of one number."""
    for fact in case.run.facts("comparison"):
        calls, shapes = int(fact.data.get("calls") or 0), fact.data.get("shapes") or []
        crossed, single = int(fact.data.get("crossed") or 0), int(fact.data.get("single") or 0)
        if not calls or max(crossed, single) <= calls / 2 or len(shapes) != 2:
            continue
        what = (
            f"{shapes[0]} == {shapes[1]} compares every prediction with every label"
            if crossed > calls / 2
            else "the predictions are the argmax over a single output, which is 0 for every sample"
        )
        yield supports(
            DECISIVE,
            f"in evaluation {what}",
            tool="error_diagnoser",
            where=case.place(fact),
            crossed=crossed,
            single=single,
        )
        return


def _matched(case: Case) -> bool:
    """Whether what is compared is known to be the model's own answer."""
    return any(f.data.get("matched") and not f.data.get("crossed") for f in case.run.facts("comparison"))


def _many_targets(case: Case) -> bool:
    """Whether the loss is given more predictions than the model samples: one for each token or pixel."""
    rows, calls = case.run.table("batch"), case.calls(grad=True)
    samples = nanmedian(rows["n"][rows["grad"] == 1])
    return nanmedian(calls["n"]) > 1.5 * samples or any(_several(f) for f in case.train_loss_calls)


def _several(call: Fact) -> bool:
    """Targets of more than one number a sample; shares of classes (as many as logits) are one target."""
    target, given = call.data.get("target_shape") or [], call.data.get("input_shape") or []
    shares = call.data.get("function") == "cross_entropy" and len(target) == len(given)
    return len(target) > 1 and target[-1] > 1 and not shares


def _printed(case: Case, *, evaluation: bool) -> list[float]:
    """Printed accuracies of that phase; one that does not say is of evaluation where the model ran without gradients."""
    said = [p.value for p in case.log if p.accuracy and p.evaluation is evaluation]
    rows = case.run.table("batch")
    silent = bool(((rows["grad"] == 0) & (rows["step"] > 1)).any()) is evaluation
    losses = case.calls(grad=not evaluation)["value"]
    if said and len(losses) and all(np.nanmin(np.abs(losses - value)) < ROUNDED for value in said):
        return []  # figures without a name, and they are losses
    return said or ([p.value for p in case.log if p.accuracy and p.evaluation is None] if silent else [])


def _without_loss(case: Case, printed: list[float]) -> Iterator[Weight]:
    """Nothing to recompute it from: what no honest metric does, in numbers of a model that learned its training data."""
    train = case.accuracy(grad=True)
    if not train.n or not train.last > WELL or not case.n_classes or case.n_classes < 2 or _another_model(case):
        return
    last = float(np.median(printed[-3:]))
    if last < BELOW / case.n_classes and last < BELOW * (1 - train.last + 1 / case.n_classes):
        yield supports(
            STRONG,
            f"the program prints an accuracy of {last:.3f}, far below the {1 / case.n_classes:.2f} that guessing gives, while "
            f"{train.last:.2f} of the training batches are hit: predictions and labels are not compared one by one",
            tool="error_diagnoser",
            printed=last,
            train=train.last,
        )
        yield symptom(MODERATE, f"the loss falls from {case.loss.first:.3g} to {case.loss.last:.3g} all the while")
    elif (
        len(printed) >= FEWEST
        and float(np.ptp(printed)) == 0.0
        and train.highest - train.start > FAR
        and last < train.last - FAR
    ):
        yield supports(
            STRONG,
            f"the program prints the same accuracy of {last:.3f} {len(printed)} times, while training accuracy goes from "
            f"{train.start:.2f} to {train.last:.2f}",
            tool="error_diagnoser",
            printed=last,
            train=train.last,
        )
    elif (
        len(printed) >= FEWEST
        and last < case.chance + AT_CHANCE * (1 - case.chance)
        and max(printed) < case.chance + FAR
        and _sound(case)
    ):
        yield supports(
            STRONG,
            f"the program prints an accuracy of {last:.3f}, that of guessing, while {train.last:.2f} of the training batches are "
            "hit, labels agree with their neighbours, and evaluation sees the same kind of inputs in evaluation mode",
            tool="error_diagnoser",
            printed=last,
            train=train.last,
            chance=case.chance,
        )
        yield symptom(WEAK, f"the loss falls from {case.loss.first:.3g} to {case.loss.last:.3g} all the while")


def _never(case: Case, printed: list[float]) -> Iterator[Weight]:
    """No hits were counted by us: not a single one is printed from beginning to end, of a model that learns."""
    if len(printed) < FEWEST or max(printed) > 0.0 or not case.learned:
        return
    yield supports(
        STRONG,
        f"the program prints an accuracy of 0 {len(printed)} times, while the loss falls from {case.loss.first:.3g} to "
        f"{case.loss.last:.3g}: guessing would hit now and then, so predictions and labels are not compared one by one",
        tool="error_diagnoser",
        printed=0.0,
        times=len(printed),
    )
    yield symptom(WEAK, "no accuracy could be recomputed from the loss", loss=case.loss.last)


def _another_model(case: Case) -> bool:
    """Whether evaluation runs a model that was not trained: an average, a teacher."""
    rows = case.run.table("batch")
    trained, evaluated = (set(rows["root"][(rows["grad"] == g) & (rows["step"] > 1)].astype(int)) for g in (1, 0))
    return bool(evaluated - trained)


def _sound(case: Case) -> bool:
    """What else makes evaluation guess is ruled out: labels without meaning, other inputs, training mode."""
    fact = case.run.fact("sample_neighbours")
    agreement = float(fact.data.get("agreement") or 0.0) if fact else 0.0
    chance = float(fact.data.get("chance") or 1.0) if fact else 1.0
    others = (eval_preprocessing_mismatch.CAUSE, eval_mode_not_eval.CAUSE)
    return agreement > chance + AGREE * (1 - chance) and not any(w.strength > 0 for c in others for w in c.weigh(case))


CAUSE = Cause(
    id="eval.metric_bug",
    title="The metric that is printed is computed wrongly",
    phase="eval",
    repair="Recompute it: argmax over the class dimension, the same order of predictions and labels, all samples counted.",
    mistaken_for={"eval.overfit": "there the recomputed accuracy is low too"},
    intervention="none at run time",
    next_measurement="the metric recomputed from logits and labels",
    weigh=weigh,
    source="cnn-text-classification-tf#136",
)
