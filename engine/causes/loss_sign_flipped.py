"""The loss is maximised: what goes into backward is minus the loss.

Healthy twins: policy gradients, adversarial terms, negative likelihoods - none of them negates a supervised loss.
Source: TheDeepChecker flipped-sign.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.terms import Term, terms
from aitia.engine.terms import factors as site_factors

RUNAWAY = 50.0
"""Times its size at the start by which a loss below zero has run away: no floor holds it."""
ALIKE = -0.5
"""A mean cosine below this is pushed apart: unrelated vectors have 0."""


def weigh(case: Case) -> Iterator[Weight]:
    """The factor with which the loss enters backward, and where its value is going; else a fall without a floor."""
    if len(case.run.optimizers) > 1:
        return
    turned = [i for i in case.run.optimizers if any(g.get("maximize") for g in i.groups)]
    factors = site_factors(case)
    if turned:
        factors = {site: -factor for site, factor in factors.items()}
    for site, factor in factors.items():
        value = case.calls(grad=True, site=site)["value"]
        tenth = max(2, len(value) // 10)
        first, last = nanmedian(value[:tenth]), nanmedian(value[-tenth:])
        if factor >= 0 or len(value) < 5 or not first > 0:
            continue
        yield supports(
            DECISIVE if last > first else STRONG,
            f"the loss enters backward with the factor {-factor if turned else factor:.2g}"
            + (", the optimizer is told to maximise it," if turned else "")
            + f" and its value goes from {first:.3g} to {last:.3g}: it is being maximised",
            tool="gradient_debugger",
            step=1,
            where=case.optimizer_place(turned[0].index) if turned else case.site_place(site),
            factor=factor,
            first=first,
            last=last,
        )
        train = case.accuracy(grad=True)
        if train.n > 5 and train.last < case.chance - 0.02:
            yield symptom(MODERATE, f"accuracy sinks below chance ({train.last:.2f} against {case.chance:.2f})")
        return
    by_hand = list(_by_hand(case)) or list(_similarity(case))
    yield from by_hand
    if not factors and not by_hand:
        yield from _bottomless(case)


def _by_hand(case: Case) -> Iterator[Weight]:
    """A summand without a loss function: an error that is driven up, or a likelihood that is driven down."""
    wrong = [t for t in terms(case) if t.upwards]
    values = case.loss.values[np.isfinite(case.loss.values)]
    if not wrong or len(values) < 10:
        return
    term = wrong[0]
    tenth = max(3, len(values) // 10)
    first, last = nanmedian(values[:tenth]), nanmedian(values[-tenth:])
    reward = [p.value for p in case.log if p.reward]
    if reward or any(t.mixed for t in wrong):
        yield from _against_reward(case, term, reward)
    elif last < first and last < 0:
        what = "an error or penalty" if term.kind == "error" else "the logarithm of a probability"
        yield supports(
            STRONG + WEAK if last > RUNAWAY * min(first, -1.0) else DECISIVE,
            f"{what} ({term.op}) enters backward with the factor {term.factor:.2g}, so that making it worse lowers the loss, and "
            f"the loss went from {first:.3g} to {last:.3g}",
            tool="gradient_debugger",
            step=1,
            where=case.loss_place,
            factor=term.factor,
            first=first,
            last=last,
        )


def _against_reward(case: Case, term: Term, reward: list[float]) -> Iterator[Weight]:
    """A policy gradient: the logarithm of a probability times a score of either sign; the printed reward tells which is up."""
    half = len(reward) // 2
    if term.kind != "likelihood" and term.op != "LogsumexpBackward0":
        return
    if len(reward) < 4 or max(reward[half:]) >= reward[0] or nanmedian(reward[half:]) >= nanmedian(reward[:half]):
        return
    yield supports(
        STRONG + WEAK,
        f"the logarithm of a probability, times a score, enters backward with the factor {abs(term.factor):.2g} and is minimised, "
        f"and the printed reward falls from {reward[0]:.3g} to {nanmedian(reward[half:]):.3g}",
        tool="gradient_debugger",
        step=1,
        where=case.loss_place,
        factor=term.factor,
    )


def _similarity(case: Case) -> Iterator[Weight]:
    """The cosine of an angle is the whole loss, and it is brought to -1."""
    whole = [f.data.get("terms") or [] for f in case.run.facts("graph")]
    code = next(iter(case.run.facts("loss_code")), None)
    if code is None or not whole or any(len(t) != 1 or float(t[0]["factor"]) <= 0 for t in whole):
        return
    ops = [op for op in code.data.get("ops") or [] if True in (op.get("tracked") or [])]
    cosine = [i for i, op in enumerate(ops) if op.get("op") == "cosine_similarity"]
    if not cosine or case.loss.n < 10 or not case.loss.last < min(case.loss.first, ALIKE):
        return
    if any(op.get("op") in {"rsub", "sub", "neg", "exp", "log", "relu", "clamp"} for op in ops[cosine[0] :]):
        return
    yield supports(
        STRONG + WEAK,
        f"what goes into backward is the cosine similarity itself, brought from {case.loss.first:.2f} to {case.loss.last:.2f}: "
        "what should become alike is driven apart",
        tool="gradient_debugger",
        step=1,
        where=case.place(code),
        first=case.loss.first,
        last=case.loss.last,
    )


def _bottomless(case: Case) -> Iterator[Weight]:
    """A hand-written loss that falls below zero faster and faster; a likelihood's logarithm levels off."""
    values = case.loss.values[np.isfinite(case.loss.values)]
    if len(values) < 20 or values[-1] >= 0:
        return
    half = len(values) // 2
    a, b, c = (nanmedian(values[i : i + max(3, len(values) // 10)]) for i in (0, half, len(values) - len(values) // 10))
    if c < b < a and (b - c) > 1.5 * (a - b) and c < -50 * max(1.0, abs(a)):
        yield supports(
            STRONG + 1.0,
            f"the loss falls below zero faster and faster ({a:.3g}, {b:.3g}, {c:.3g}): it has no floor, so what is minimised "
            "is the negative of an error",
            tool="gradient_debugger",
            step=1,
            first=a,
            middle=b,
            last=c,
        )


CAUSE = Cause(
    id="loss.sign_flipped",
    title="The sign of the loss is flipped: training maximises it",
    phase="loss",
    repair="Remove the minus sign in front of the loss.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the first steps still lower the loss",
        "loss.missing_log": "there the value itself is negative",
    },
    explains=("optimizer.lr_too_high", "numerics.exploding_gradient", "eval.underfit_stopped_early"),
    intervention="negate the loss",
    interventions=("negate_loss",),
    next_measurement="root of backward against the value of the loss function",
    source="TheDeepChecker",
)
