"""Scores of answers against the truth: pure functions, and intervals by resampling programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from aitia.engine.records import Diagnosis
from aitia.evals.zoo import HEALTHY, Truth

RESAMPLES = 2000
"""Enough for two digits of a 95 % interval."""
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Edges of the reliability table; finer at the top, where answers are acted on."""
NEAR_LINES = 2
"""A claimed line this far from an accused one still shows the reader the right place."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "flat loss": (
        "optimizer.stale_param_reference", "optimizer.params_missing_from_groups", "optimizer.lr_too_low",
        "optimizer.frozen_by_mistake", "scheduler.stepped_per_batch", "loop.zero_grad_after_backward",
        "optimizer.never_stepped", "amp.clip_before_unscale", "graph.no_grad_region",
        "graph.checkpoint_no_input_grad", "graph.stale_module", "model.dead_units", "init.symmetric",
        "init.wrong_scale",
    ),
    "divergence": (
        "loop.missing_zero_grad", "optimizer.lr_too_high", "loss.reduction_scale",
        "loop.accumulation_not_normalized", "numerics.exploding_gradient", "loss.sign_flipped",
    ),
    "sudden NaN": (
        "numerics.sqrt_at_zero_backward", "numerics.log_zero", "numerics.masked_branch_nan",
        "numerics.divide_by_zero_scale", "data.nan_or_inf_input", "optimizer.eps_underflow",
    ),
    "train good, validation bad": (
        "data.label_misaligned", "eval.mode_not_eval", "eval.preprocessing_mismatch", "loop.freeze_undone_by_train",
        "eval.overfit", "ddp.forward_bypasses_wrapper", "model.batch_mixing",
    ),
    "loss falls, task not learned": (
        "data.supervision_field_dropped", "data.targets_mostly_masked", "data.eos_masked_as_pad",
        "data.label_shift_error", "loss.padding_counted", "model.causal_leak", "eval.metric_bug",
        "artifact.best_state_aliased", "artifact.load_skips_keys",
    ),
    "predicts a constant": (
        "loss.shape_broadcast", "loss.wrong_for_task", "data.unscaled_input", "model.missing_nonlinearity",
        "eval.metric_bug",
    ),
    "memory or time grows": (
        "resource.graph_retained_by_history", "resource.hooks_accumulate", "resource.oversized_input",
        "resource.loader_bound", "resource.retain_graph",
    ),
}  # fmt: skip
"""The look-alike families of the vocabulary: causes that share a symptom."""


@dataclass(frozen=True)
class Reply:
    """An answer in the common form of our diagnosis, of baselines and of peers."""

    verdict: str
    ranked: tuple[frozenset[str], ...] = ()
    """Causes, the most likely first; a set where an answerer's own word stands for several of ours."""
    confidence: tuple[float, ...] = ()
    lines: tuple[int, ...] = ()
    component: str | None = None
    onset: int | None = None
    error: str | None = None

    @property
    def first(self) -> str:
        """One word for tables: the first cause, or the verdict."""
        if self.verdict == "faulty" and self.ranked:
            return "/".join(sorted(self.ranked[0]))
        return "error" if self.error else self.verdict


def reply_of(diagnosis: Diagnosis) -> Reply:
    """A diagnosis in the common form; location, component and onset are those of the first hypothesis."""
    first = diagnosis.hypotheses[0] if diagnosis.hypotheses else None
    return Reply(
        verdict=diagnosis.verdict,
        ranked=tuple(frozenset({h.cause}) for h in diagnosis.hypotheses),
        confidence=tuple(h.confidence for h in diagnosis.hypotheses),
        lines=first.location.lines if first and first.location else (),
        component=first.component if first else None,
        onset=(first.onset_step if first.onset_step is not None else diagnosis.onset_step) if first else None,
    )


@dataclass(frozen=True)
class Case:
    """One recorded variant of one program, with what is true about it and what was answered."""

    program: str
    variant: str
    """`faulty`, `repaired` (the same program without its fault), or `healthy` (a look-alike)."""
    seed: int
    truth: Truth
    accused: tuple[int, ...]
    """Lines of the fault in the program as it was recorded."""
    replies: dict[str, Reply] = field(default_factory=dict)
    seconds: float = 0.0
    """Time our answer took."""
    steps: int = 0
    overhead: float | None = None
    """Share of the recorded time that the recorder took for itself."""
    latency: int | None = None
    """Steps after the onset at which our answer is right for the first time; None where that was not measured."""

    @property
    def right(self) -> frozenset[str]:
        """Every id that names the fault rightly; none where there is none."""
        if self.variant != "faulty":
            return frozenset()
        return frozenset((*self.truth.all_causes, *self.truth.also_right)) - {HEALTHY}


def hit(case: Case, reply: Reply, depth: int) -> bool:
    """Whether one of the first `depth` causes is right; an answer that does not say faulty names none."""
    return reply.verdict == "faulty" and any(case.right & names for names in reply.ranked[:depth])


def recall(case: Case, reply: Reply) -> float:
    """Share of the faults that are among the causes; an equally right id stands for one that is not named itself."""
    if reply.verdict != "faulty":
        return 0.0
    named = frozenset[str]().union(*reply.ranked) if reply.ranked else frozenset()
    direct = set(case.truth.all_causes) & named
    others = set(case.truth.also_right) & named
    return min(len(case.truth.all_causes), len(direct) + len(others)) / len(case.truth.all_causes)


def same_component(claimed: str | None, true: str) -> bool:
    """Whether one dotted path lies within the other: `fc` and `fc.weight` name the same place."""
    if not claimed:
        return False
    a, b = claimed.split("."), true.split(".")
    return a[: len(b)] == b or b[: len(a)] == a


Metric = Callable[[Case, Reply], float | None]
"""A number per case, None where it does not apply."""


def _line(case: Case, reply: Reply, near: int) -> float | None:
    if not case.accused or not hit(case, reply, 1):
        return None
    return float(any(abs(a - b) <= near for a in reply.lines for b in case.accused))


def _component(case: Case, reply: Reply) -> float | None:
    if not case.truth.component or not hit(case, reply, 1):
        return None
    return float(same_component(reply.component, case.truth.component))


def _onset(case: Case, reply: Reply) -> float | None:
    if case.truth.onset_step is None or reply.onset is None or not hit(case, reply, 1):
        return None
    return float(reply.onset - case.truth.onset_step)


FAULTY: dict[str, Metric] = {
    "top1": lambda c, r: float(hit(c, r, 1)),
    "top3": lambda c, r: float(hit(c, r, 3)),
    "recall": recall,
    "wrong": lambda c, r: float(r.verdict == "faulty" and not hit(c, r, 1)),
    "unknown": lambda _, r: float(r.verdict == "unknown"),
    "missed": lambda _, r: float(r.verdict == "healthy"),
    "line": lambda c, r: _line(c, r, 0),
    "near_line": lambda c, r: _line(c, r, NEAR_LINES),
    "component": _component,
}
SOUND: dict[str, Metric] = {
    "false_alarm": lambda _, r: float(r.verdict == "faulty"),
    "unsure": lambda _, r: float(r.verdict == "unknown"),
}


def by_program(cases: Sequence[Case], answerer: str, metric: Metric) -> dict[str, float]:
    """Mean of the metric over the seeds of each program."""
    values: dict[str, list[float]] = {}
    for case in cases:
        value = metric(case, case.replies[answerer])
        if value is not None:
            values.setdefault(case.program, []).append(value)
    return {name: float(np.mean(v)) for name, v in values.items()}


def with_interval(values: dict[str, float]) -> dict[str, Any]:
    """Mean over programs with a 95 % bootstrap interval; reproducible."""
    if not values:
        return {"n": 0, "mean": None, "low": None, "high": None}
    x = np.array(list(values.values()))
    rng = np.random.default_rng(0)
    means = x[rng.integers(0, len(x), (RESAMPLES, len(x)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"n": len(x), "mean": float(x.mean()), "low": float(low), "high": float(high)}


def table(cases: Sequence[Case], answerer: str) -> dict[str, Any]:
    """All shares of one answerer, each with its interval."""
    faulty = [c for c in cases if c.variant == "faulty"]
    parts = {name: with_interval(by_program(faulty, answerer, metric)) for name, metric in FAULTY.items()}
    for variant in ("healthy", "repaired"):
        sound = [c for c in cases if c.variant == variant]
        for name, metric in SOUND.items():
            parts[f"{variant}_{name}"] = with_interval(by_program(sound, answerer, metric))
    two = [c for c in faulty if len(c.truth.all_causes) > 1]
    parts["recall_two_faults"] = with_interval(by_program(two, answerer, recall))
    return parts


def onset_errors(cases: Sequence[Case], answerer: str) -> dict[str, Any]:
    """Claimed minus true first step, over right answers: median and spread."""
    errors = list(by_program([c for c in cases if c.variant == "faulty"], answerer, _onset).values())
    if not errors:
        return {"n": 0, "median": None, "p90_abs": None}
    return {
        "n": len(errors), "median": float(np.median(errors)), "p90_abs": float(np.percentile(np.abs(errors), 90))
    }  # fmt: skip


def claims(cases: Sequence[Case], answerer: str) -> list[tuple[float, bool]]:
    """(confidence, right) of every first hypothesis of a faulty verdict, on sick and sound programs alike."""
    return [
        (r.confidence[0], hit(c, r, 1))
        for c in cases
        if (r := c.replies[answerer]).verdict == "faulty" and r.confidence
    ]


def calibration(cases: Sequence[Case], answerer: str) -> dict[str, Any]:
    """Brier score, expected calibration error and the reliability table of the first hypotheses."""
    said = claims(cases, answerer)
    if not said:
        return {"n": 0, "brier": None, "ece": None, "bins": []}
    p, y = np.array([c for c, _ in said]), np.array([float(ok) for _, ok in said])
    bins, ece = [], 0.0
    for low, high in pairwise(BINS):
        inside = (p >= low) & ((p < high) | ((high == BINS[-1]) & (p <= high)))
        if not inside.any():
            continue
        claimed, true = float(p[inside].mean()), float(y[inside].mean())
        bins.append({"from": low, "to": high, "n": int(inside.sum()), "claimed": claimed, "right": true})
        ece += abs(claimed - true) * float(inside.mean())
    return {"n": len(said), "brier": float(np.mean((p - y) ** 2)), "ece": ece, "bins": bins}


def risk_coverage(cases: Sequence[Case], answerer: str) -> list[dict[str, float]]:
    """Of the surest 25, 50, 75, 100 % of all claims, the share that is wrong."""
    said = sorted(claims(cases, answerer), key=lambda pair: -pair[0])
    points = []
    for share in (0.25, 0.5, 0.75, 1.0):
        top = said[: max(1, round(share * len(said)))]
        if top:
            points.append({"coverage": share, "n": len(top), "risk": 1 - sum(ok for _, ok in top) / len(top)})
    return points


def stability(cases: Sequence[Case], answerer: str) -> dict[str, Any]:
    """Share of program variants whose first answer is the same for every seed; None with one seed."""
    answers: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        answers.setdefault((case.program, case.variant), []).append(case.replies[answerer].first)
    several = [a for a in answers.values() if len(a) > 1]
    same = [len(set(a)) == 1 for a in several]
    return {"n": len(several), "share": float(np.mean(same)) if same else None}
