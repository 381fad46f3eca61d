"""What replays say of a cause: its own measurement must flip with the change and stay under the placebo.

Loss alone proves nothing: it falls for many reasons. The accused mechanism is measured again in every trial; besides,
the outcome must not be worse, nothing new may be accused, and no value may have been hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aitia.engine.causes.base import MODERATE
from aitia.engine.records import Record
from aitia.engine.replay.reading import Reading

CLEAR_ACCURACY = 0.05
"""Difference of two accuracies that is more than the noise of one epoch on small data."""
OTHER_SEED = 2.0
"""With another seed samples and start are others, too: so many times that difference says nothing yet."""
FEWER_STEPS = 0.5
"""A changed program that takes less than this share of the steps has skipped its training, not repaired it."""
SHARED, SHARED_STEPS = frozenset({"ddp.same_data_on_ranks"}), 0.1
"""Causes whose repair shares one epoch among the ranks, up to about eight of them: each takes fewer steps."""
JUDGED_BY_RECALL = frozenset({"data.class_imbalance", "loss.class_weight_wrong"})
"""Causes in which accuracy says nothing: it is highest where the rare class is never said."""
STOOD_STILL = frozenset({"optimizer.never_stepped", "loop.zero_grad_after_backward"})
"""Causes without which a program must learn at last: nothing moved as long as they were there."""
FLATTERED = frozenset({
    "data.label_shift_error", "data.repeated_batch", "data.targets_mostly_masked", "eval.test_leakage",
    "loss.padding_counted", "model.causal_leak",
})  # fmt: skip
"""Causes that made the accuracy better than it is: with the answer no longer given away, the one batch left, or
easy targets (padding, copies) no longer counted, it falls."""
MOVING_TARGET = frozenset({"graph.target_not_detached", "graph.detach_in_generator_step"})
"""Causes in which the loss is no outcome: its target, or its opponent, moves once the gradient is right."""
FOLLOWS = {"graph.target_not_detached": ("graph.non_differentiable_op", "graph.no_grad_region")}
"""What a right repair looks like: parameters of a target that is detached get no gradient, wherever they are held."""
BEYOND_START = 1.5
"""A loss that ends this many times above where the placebo ended is worse, whatever the seed."""
OTHER_UNITS = frozenset({"data.unscaled_target"})
"""Causes whose repair changes the unit of the loss, so that its size before and after says nothing."""
SAME_UNIT = ("optimizer.",)
"""Causes whose repair leaves the loss what it is, and makes it smaller or is none."""
LEARNED_SHARE = 0.1
"""Variance that standardized targets must have explained, or their loss must have lost: `LEARNED_LOSS`."""
LEARNED_LOSS = 0.75
LATE = 10
"""Losses of a thinned curve that are its end."""
FALLEN = 0.9
"""A loss below this share of where it began is being learned from, however far it has come."""


class Comparison(Record):
    """The verdict on a change."""

    status: Literal["proved", "unfinished", "refuted", "inconclusive"]
    """`unfinished`: the mechanism is gone, but something else is wrong, too."""
    reason: str


def compare(before: Sequence[Reading], after: Sequence[Reading], threshold: float) -> Comparison:
    """Judge readings without the change against readings with it.

    `threshold` is the belief (log-odds) from which the mechanism counts as there; see `present_from`.
    """
    first = before[0]
    if first.status == "nothing recorded":
        return Comparison(status="inconclusive", reason=f"the program could not be run again: {first.failure}")
    if not all(_there(r, threshold) for r in before):
        missing = next(r for r in before if not _there(r, threshold))
        seed = f" with another seed ({missing.seed})" if missing.seed else ""
        end = f": it ended in {missing.failure}" if missing.failure else ""
        return Comparison(status="inconclusive", reason=f"run again{seed} without a change, it does not show{end}")
    verdicts = [_judge(first, r, threshold) for r in after]
    for status in ("refuted", "inconclusive", "unfinished"):
        found = next((v for v in verdicts if v.status == status), None)
        if found is not None:
            return found
    seeds = f" in {len(after)} runs with different seeds" if len(after) > 1 else ""
    return Comparison(
        status="proved",
        reason=f"the mechanism is there without the change and gone with it{seeds}{_gain(first, after[0])}",
    )


def present_from(log_odds: float) -> float:
    """Belief from which a mechanism counts as there, given what the recorded run showed."""
    return min(log_odds - MODERATE / 2, 0.0) if log_odds < MODERATE else MODERATE / 2


def _there(reading: Reading, threshold: float) -> bool:
    return reading.seen and reading.log_odds >= threshold


def _judge(before: Reading, after: Reading, threshold: float) -> Comparison:
    if after.label == "changed" and (decided := _intervention(before, after, threshold)) is not None:
        return decided
    wrong = _refutation(before, after, threshold)
    if wrong is not None:
        return Comparison(status="refuted", reason=wrong)
    if after.seen and after.log_odds > threshold - MODERATE:
        return Comparison(status="inconclusive", reason=f"the mechanism is weaker, but not gone: {after.statement}")
    signs = [s for s in after.symptoms if s != "diverged" or after.cause not in MOVING_TARGET]
    new = [c for c in after.surely if c not in before.accused and c not in FOLLOWS.get(after.cause, ())]
    left = [c for c in after.accused if c in before.accused]
    if new or signs or left:
        others = ", ".join([*new, *left]) or " and ".join(signs)
        return Comparison(status="unfinished", reason=f"the mechanism is gone, but not all is well: {others}")
    if (left_over := _unlearned(before, after)) is not None:
        return Comparison(status="unfinished", reason=f"the mechanism is gone, but {left_over}")
    return Comparison(status="proved", reason="")


def _unlearned(before: Reading, after: Reading) -> str | None:
    """What the changed program still does not learn."""
    found = _said_at_last(before, after)
    if after.cause in JUDGED_BY_RECALL and after.recall is not None and not found:
        return f"rare classes are found no better: mean recall {after.recall:.2f} after {before.recall or 0.0:.2f}"
    if after.cause in OTHER_UNITS and (missed := _in_their_unit(before, after)) is not None:
        return missed
    if not after.sees_past and after.cause == "model.causal_leak":
        return "no position sees an earlier one any more"
    if after.cause in STOOD_STILL and (idle := _idle(before, after)) is not None:
        return idle
    judged = after.accuracy is not None and not _fought(after)
    if judged and not after.learned and not before.learned and not found:
        return f"the program still does not learn: accuracy {after.accuracy:.2f}"
    return None


def _in_their_unit(before: Reading, after: Reading) -> str | None:
    """What does not tell that predictions are better in the unit of the data, which training no longer has."""
    if (after.explained or 0.0) < LEARNED_SHARE and not _falls(after, LEARNED_LOSS):
        share = "" if after.explained is None else f": {100 * after.explained:.0f} % of the variance is explained"
        return f"the targets are still not learned{share}"
    if after.scored is not None:
        better = after.scored > LEARNED_SHARE and (before.scored is None or after.scored > before.scored)
        return None if better else f"the variance that it says it explains is {after.scored} after {before.scored}"
    if before.told is None or after.told is None:
        told = "nothing that the program prints tells whether its predictions, in their own unit, are better"
        return told if after.evaluates else None
    if after.told > FALLEN * before.told:
        return f"what the program prints is no better: {after.told} after {before.told}"
    return None


def _fought(after: Reading) -> bool:
    """Whether an accuracy may be that of an opponent, which is right less often once the other side learns, too."""
    stood = after.cause in STOOD_STILL or after.cause.startswith(SAME_UNIT)
    return stood and after.optimizers > 1 and not after.fixed_target


def _idle(before: Reading, after: Reading) -> str | None:
    """What shows that steps are taken now, and nothing comes of them."""
    if before.reward is not None and after.reward is not None:
        more = after.reward > before.reward
        return None if more else f"it earns no more than without any step: {after.reward} after {before.reward}"
    if not (before.fixed_target and after.fixed_target):
        return None  # an opponent got better, too, or the target moved: the loss says nothing
    if not _below(after, before):
        return f"the loss ends no lower than without any step: {after.loss_last} after {before.loss_last}"
    known = None not in (_at_the_end(before), _at_the_end(after))
    if not after.learned and not (known and _below(after, before, FALLEN)):
        return f"nothing is learned all the same: the loss goes from {after.loss_first} to {after.loss_last}"
    return None


def _below(after: Reading, before: Reading, share: float = 1.0) -> bool:
    """Whether the loss ended lower, or below a share of what it was, as far as both are known."""
    was, now = _at_the_end(before), _at_the_end(after)
    return was is None or now is None or now < share * was * _unit(before, after)


def _intervention(before: Reading, after: Reading, threshold: float) -> Comparison | None:
    """What only a change at run time can come to: it did not reach the mechanism, or the run fails without it, too."""
    if _there(after, threshold):
        reason = f"the change did not reach the mechanism: {after.statement}"
        return Comparison(status="inconclusive", reason=reason)
    if before.symptoms and after.symptoms == before.symptoms and not _better(before, after):
        reason = f"without the mechanism the run fails all the same: {' and '.join(after.symptoms)}"
        return Comparison(status="refuted", reason=reason)
    return None


def _refutation(before: Reading, after: Reading, threshold: float) -> str | None:  # noqa: PLR0911 - one reason each
    if after.status in {"timeout", "nothing recorded"}:
        return f"the changed program did not end well: {after.failure or 'it ran into its deadline'}"
    if hidden := [h for h in after.hidden if h not in before.hidden]:
        return f"it hides what is wrong instead of removing it: a value that is not finite is replaced at {hidden[0]}"
    if _there(after, threshold):
        return f"the mechanism is still there: {after.statement}"
    if after.failure is not None and after.failure != before.failure:
        return f"the changed program ends in {after.failure}"
    if after.steps < (SHARED_STEPS if after.cause in SHARED else FEWER_STEPS) * before.steps:
        return f"the changed program takes only {after.steps} of {before.steps} optimizer steps"
    what = "recall" if after.cause in JUDGED_BY_RECALL else "accuracy"
    was, now = getattr(before, what), getattr(after, what)
    clear = CLEAR_ACCURACY * (OTHER_SEED if after.seed != before.seed else 1.0)
    if after.cause in FLATTERED:
        was = now if after.learned or not before.learned or _falls(after) else was
    if was is not None and now is not None and now < was - clear and not _fought(after):
        return f"the outcome is worse: {what} {now:.2f} after {was:.2f}"
    if _worse(before, after):
        unit = _unit(before, after)
        where = f" (times {unit:.4g}, its new unit)" if unit != 1.0 else ""
        return f"the outcome is worse: loss at the end {_at_the_end(before):.4g}{where} → {_at_the_end(after):.4g}"
    outcome = after.cause not in MOVING_TARGET and not (
        after.cause in STOOD_STILL and (not after.fixed_target or _below(after, before))
    )
    if outcome and _rises(after) and not _rises(before) and before.failure is None:
        return f"the outcome is worse: the loss rises from {after.loss_first:.4g} to {after.loss_last:.4g}"
    return None


def _said_at_last(before: Reading, after: Reading) -> bool:
    """Whether rare classes are found that were not, where that is what had to be learned."""
    known = before.recall is not None and after.recall is not None and after.cause in JUDGED_BY_RECALL
    return known and (after.recall or 0.0) > (before.recall or 0.0) + CLEAR_ACCURACY


def _worse(before: Reading, after: Reading) -> bool:
    """Whether one network that is now stepped as it should be ends with a larger loss in the same unit."""
    same = (
        after.cause.startswith(SAME_UNIT) and before.optimizers == after.optimizers == 1 and before.seed == after.seed
    )
    same = same and (after.cause not in STOOD_STILL or (before.fixed_target and after.fixed_target))
    was, now = _at_the_end(before), _at_the_end(after)
    if not same or before.failure is not None or was is None or now is None:
        return False
    return now > BEYOND_START * was * _unit(before, after) > 0


def _unit(before: Reading, after: Reading) -> float:
    """How many times larger the changed program's loss is by its unit alone, as where it is no longer divided.

    Where nothing was stepped, that is seen at the first backward: there both programs are still the same.
    """
    if after.cause not in STOOD_STILL or min(len(before.losses), len(after.losses)) <= LATE:
        return 1.0
    was, now = before.losses[0], after.losses[0]
    ratio = now / was if was is not None and now is not None and was > 0 and now > 0 else 1.0
    return ratio if before.seed == after.seed or not 1 / OTHER_SEED < ratio < OTHER_SEED else 1.0


def _at_the_end(reading: Reading) -> float | None:
    """Median of the last losses that went into backward: one step may gather several, and none is of another unit."""
    late = sorted(x for x in reading.losses[-LATE:] if x is not None)
    return late[len(late) // 2] if late else reading.loss_last


def _falls(reading: Reading, share: float = FALLEN) -> bool:
    first, last = reading.loss_first, reading.loss_last
    return first is not None and last is not None and first > 0 and last < share * first


def _rises(reading: Reading) -> bool:
    first, last = reading.loss_first, reading.loss_last
    return first is not None and last is not None and first > 0 and last > BEYOND_START * first


def _better(before: Reading, after: Reading) -> bool:
    if before.failure is not None and after.failure is None:
        return True
    if before.symptoms and not after.symptoms:
        return True
    if before.accuracy is not None and after.accuracy is not None:
        return after.accuracy > before.accuracy + CLEAR_ACCURACY
    return False


def _gain(before: Reading, after: Reading) -> str:
    if before.failure is not None:
        return "; the program runs to its end"
    if before.accuracy is not None and after.accuracy is not None:
        return f"; accuracy {before.accuracy:.2f} → {after.accuracy:.2f}"
    if before.loss_last is not None and after.loss_last is not None:
        return f"; loss at the end {before.loss_last:.4g} → {after.loss_last:.4g}"
    return ""
