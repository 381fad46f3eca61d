"""Measurements → semantic events: what changed, where and when; thousands of rows become a handful of sentences."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from aitia.engine.case import Case, listing
from aitia.engine.records import EventType, GradientHealth, SemanticEvent
from aitia.engine.store.reader import Run

VANISHING = 1e-7
"""Gradient norm per root of the number of weights below which float32 updates are lost in rounding."""
EXPLODING = 1e2
"""… above which one step at an ordinary rate is larger than the weights themselves."""
DEAD = 0.95
"""Share of features that are zero for every sample."""
SATURATED = 0.9
"""Share of values at the ends of a squashing unit's range."""
PERSISTENT = 3
"""Rows that a state must last before it counts as one: single outliers are noise."""
MAX_EVENTS = 40


@dataclass(frozen=True)
class _Change:
    step: int
    before: str
    after: str
    value: float
    last: int | None


def events(run: Run) -> tuple[SemanticEvent, ...]:
    """The run's story in order of steps, at most forty sentences."""
    case = Case(run)
    with np.errstate(all="ignore"):
        found = [*_gradients(case), *_activations(case), *_loss(case), *_facts(case)]
    found.sort(key=lambda e: (e.step, e.type.value, e.subject))
    kept = (
        found if len(found) <= MAX_EVENTS else sorted(sorted(found, key=_importance)[:MAX_EVENTS], key=lambda e: e.step)
    )
    return tuple(e.model_copy(update={"id": f"V{i + 1}"}) for i, e in enumerate(kept))


def _importance(event: SemanticEvent) -> tuple[int, int]:
    order = {
        EventType.EXCEPTION: 0,
        EventType.NUMERICS: 1,
        EventType.OPTIMIZER: 2,
        EventType.MODE: 3,
        EventType.DATA: 3,
    }
    return order.get(event.type, 4), event.step


def _gradients(case: Case) -> list[SemanticEvent]:
    norm, bad = case.param("grad_norm"), case.param("grad_nonfinite")
    present, zero = case.param("grad_present"), case.param("grad_zero_share")
    changes: dict[str, list[_Change]] = {}
    for p in case.trainable:
        if p.index >= norm.shape[1] or len(p.shape) < 2:
            continue
        size = norm[:, p.index] / np.sqrt(float(np.prod(p.shape)))
        state = np.full(len(size), GradientHealth.HEALTHY.value, dtype=object)
        state[size > EXPLODING] = GradientHealth.EXPLODING.value
        state[size < VANISHING] = GradientHealth.VANISHING.value
        state[(norm[:, p.index] == 0) | (zero[:, p.index] == 1)] = GradientHealth.DEAD.value
        state[present[:, p.index] == 0] = GradientHealth.ABSENT.value
        state[(bad[:, p.index] > 0) | np.isinf(size)] = GradientHealth.NON_FINITE.value
        known = np.isfinite(present[:, p.index]) | np.isfinite(size) | (bad[:, p.index] > 0)
        changes[p.layer or p.name] = _changes(case.param_steps[known], state[known], size[known])
    return _fold(EventType.GRADIENT_HEALTH, "gradient", changes)


def _activations(case: Case) -> list[SemanticEvent]:
    steps = case.run.wide("layer").steps
    dead, saturated, bad = (case.layer_stat(s) for s in ("out_dead_share", "out_sat_share", "out_nonfinite"))
    changes = {}
    for layer in case.leaves:
        if layer.index >= dead.shape[1] or layer.kind in {"dropout", "shape"}:
            continue
        state = np.full(len(steps), "healthy", dtype=object)
        state[dead[:, layer.index] > DEAD] = GradientHealth.DEAD.value
        state[saturated[:, layer.index] > SATURATED] = GradientHealth.SATURATED.value
        state[bad[:, layer.index] > 0] = GradientHealth.NON_FINITE.value
        known = np.isfinite(dead[:, layer.index]) | np.isfinite(bad[:, layer.index])
        value = np.fmax(dead[:, layer.index], saturated[:, layer.index])
        changes[layer.name] = _changes(steps[known], state[known], value[known])
    return _fold(EventType.ACTIVATION_HEALTH, "activations", changes)


def _changes(
    steps: npt.NDArray[np.int64], state: npt.NDArray[np.object_], value: npt.NDArray[np.floating[Any]]
) -> list[_Change]:
    """Runs of equal state that last, as changes; a healthy start is not an event."""
    found: list[_Change] = []
    current, n = "healthy", len(state)
    edges = [0, *(np.flatnonzero(state[1:] != state[:-1]) + 1).tolist(), n] if n else []
    for i, j in pairwise(edges):
        lasting = j - i >= min(PERSISTENT, n) or state[i] == GradientHealth.NON_FINITE.value or j == n
        if state[i] != current and lasting:
            found.append(
                _Change(int(steps[i]), current, str(state[i]), float(value[i]), None if j == n else int(steps[j - 1]))
            )
            current = str(state[i])
    return found


def _fold(kind: EventType, noun: str, changes: dict[str, list[_Change]]) -> list[SemanticEvent]:
    """The same change at the same step in many layers is one event."""
    groups: dict[tuple[int, str, str], list[tuple[str, _Change]]] = defaultdict(list)
    for subject, series in changes.items():
        for change in series[:4]:
            groups[(change.step, change.before, change.after)].append((subject, change))
    folded = []
    for (step, before, after), members in groups.items():
        names = [name for name, _ in members]
        last = members[0][1].last
        words = "became" if after != "healthy" else "became healthy again, after being"
        tail = f"{words} {after}" if after != "healthy" else f"{words} {before}"
        folded.append(
            SemanticEvent(
                id="V0",
                type=kind,
                step=step,
                subject=names[0],
                before=before,
                after=after,
                value=members[0][1].value,
                last_step=last,
                count=len(members),
                statement=f"{noun} of {listing(names, 3)} {tail.replace('_', '-')} at step {step}",
            )
        )
    return folded


def _loss(case: Case) -> list[SemanticEvent]:
    curve, found = case.loss, []
    shape = loss_shape(case)
    if shape:
        found.append(
            SemanticEvent(
                id="V0",
                type=EventType.LOSS_SHAPE,
                step=1,
                subject="loss",
                before="start",
                after=shape,
                value=curve.last if np.isfinite(curve.last) else None,
                last_step=case.n_steps or None,
                statement=f"loss: {shape} ({curve.first:.4g} to {curve.last:.4g})",
            )
        )
    if case.nonfinite_step is not None:
        found.append(
            SemanticEvent(
                id="V0",
                type=EventType.NUMERICS,
                step=case.nonfinite_step,
                subject="loss",
                before="finite",
                after="non_finite",
                statement=f"first non-finite value at step {case.nonfinite_step}",
            )
        )
    return found


def loss_shape(case: Case) -> str | None:
    """Name of the loss curve's shape: non-finite, diverging, plateau, hockey stick, slow burn, falling."""
    curve = case.loss
    if curve.n < 6:
        return None
    if case.nonfinite_step is not None:
        return "ends non-finite"
    if case.diverged:
        return "diverging"
    if case.flat:
        return "plateau"
    values = curve.values[np.isfinite(curve.values)]
    tenth = values[: max(2, len(values) // 10)]
    total = curve.first - curve.lowest
    if (
        total > 0
        and tenth[0] - float(np.median(tenth[-2:])) > 0.8 * (tenth[0] - curve.lowest)
        and tenth[0] > 3 * curve.last
    ):
        return "hockey stick"
    return "slow burn" if curve.fall < 0.3 else "falling"


_TOLD = {
    "coverage": EventType.OPTIMIZER,
    "parameter_replaced": EventType.OPTIMIZER,
    "mode": EventType.MODE,
    "nonfinite": EventType.NUMERICS,
    "exception": EventType.EXCEPTION,
    "clip": EventType.OPTIMIZER,
    "load_state_dict": EventType.OPTIMIZER,
}


def _facts(case: Case) -> list[SemanticEvent]:
    found = []
    for kind, type_ in _TOLD.items():
        for fact in case.run.facts(kind)[:3]:
            after, statement = _tell(kind, fact.data, fact.subject)
            if statement:
                found.append(
                    SemanticEvent(
                        id="V0",
                        type=type_,
                        step=max(1, fact.step),
                        subject=fact.subject or kind,
                        before="",
                        after=after,
                        statement=statement,
                    )
                )
    return found


def _tell(kind: str, data: dict[str, object], subject: str) -> tuple[str, str]:
    """(new state, sentence) of a fact; an empty sentence leaves it out."""
    missed, orphans = data.get("trainable_not_held") or [], data.get("held_not_in_model") or []
    mode = "train" if data.get("training") else "eval"
    told = {
        "parameter_replaced": ("replaced", f"{subject or 'a parameter'} was replaced by another tensor"),
        "mode": (mode, f"{subject or 'the model'} switched to {mode} mode"),
        "nonfinite": ("non_finite", f"first non-finite value: {data.get('kind')} in {data.get('where')}"),
        "exception": ("crashed", f"the program ended in {data.get('type', 'an exception')}"),
        "load_state_dict": (
            "loaded",
            f"load_state_dict matched {data.get('matched')} of {data.get('n_model')} tensors",
        ),
    }
    if kind == "coverage" and isinstance(missed, list) and isinstance(orphans, list) and (missed or orphans):
        return (
            "incomplete",
            f"the optimizers hold {len(orphans)} tensors outside the model and miss {len(missed)} in it",
        )
    if kind == "clip" and (data.get("before_backward") or data.get("before_unscale")):
        return "misplaced", "gradients were clipped in the wrong place"
    return told.get(kind, ("", ""))
