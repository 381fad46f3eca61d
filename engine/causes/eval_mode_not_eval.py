"""Validation runs with dropout and batch statistics of training.

Healthy twins: predictions that are sampled with dropout on (one input, many forwards), a teacher that averages.
Source: MultiBench#26; ethos-ares#20.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import SourceLocation
from aitia.engine.store.reader import Array

PASSES = 4
"""Times that one input is evaluated between two steps when its answers are sampled: an evaluation looks at it once, or twice."""


def weigh(case: Case) -> Iterator[Weight]:
    """Forwards without gradients while the training flag is on, in a model with layers that care."""
    rows = case.run.table("batch")
    free = (rows["grad"] == 0) & ~np.isin(rows["root"], _teachers(case)) & ~_sampled(rows)
    if free.sum() < 1 or not (rows["grad"] == 1).any():
        return
    share = float((rows["training"][free] == 1).mean())
    if share < 0.5:
        return
    modal = [x for x in case.run.layers if (x.kind == "dropout" and x.config.get("p", 0.5)) or "BatchNorm" in x.cls]
    modal = [x for x in modal if nanmax(case.layer_series(x, "calls")) > 0 or len(case.layer_stat("calls")) == 0]
    roots = {f.data.get("index"): str(f.data.get("name")) for f in case.run.facts("model_seen")}
    mine = {roots.get(int(r)) for r in rows["root"][free & (rows["training"] == 1)]}
    modal = [x for x in modal if len(roots) <= 1 or x.root in mine]
    if not modal:
        return
    first = int(rows["step"][free & (rows["training"] == 1)][0])
    gap = next(iter(case.probes.get("train_eval_gap", [])), None)
    norm = any("BatchNorm" in x.cls for x in modal)
    yield supports(
        DECISIVE,
        f"{int((rows['training'][free] == 1).sum())} of {int(free.sum())} forwards without gradients ran in training mode; "
        f"{listing(x.name for x in modal)} behave differently there",
        tool="layer_analyzer",
        subject=modal[0].name,
        step=first,
        where=_place(case),
        share=share,
    )
    train, held_out = case.accuracy(grad=True), case.eval_curve("accuracy")
    if train.n and held_out.n and held_out.last < train.last - 0.1:
        yield symptom(
            MODERATE,
            f"accuracy {train.last:.2f} in training, {held_out.last:.2f} in evaluation",
            train=train.last,
            evaluation=held_out.last,
        )
    if gap is not None and norm:
        yield symptom(WEAK, "batch statistics of the evaluation data entered the model")


def _sampled(rows: dict[str, Array]) -> npt.NDArray[np.bool_]:
    """Forwards that belong to many over one and the same input: the spread of the answers is what is wanted."""
    keys = list(zip(rows["step"].tolist(), rows["root"].tolist(), rows["in_hash"].tolist(), strict=True))
    free, hashed = rows["grad"] == 0, rows["in_hash"] != 0
    times = Counter(k for k, f, h in zip(keys, free, hashed, strict=True) if f and h)
    return np.asarray([times[k] >= PASSES for k in keys], dtype=bool)


def _teachers(case: Case) -> list[int]:
    """Models that are, or hold, an average that gives the targets of every step: its mode is a choice, and no evaluation."""
    rows = case.run.table("batch")
    holders = {
        str(f.data.get("root")).partition(".")[0] for f in case.run.facts("copy") if f.data.get("changed") is True
    }
    found = []
    for fact in case.run.facts("model_seen"):
        index, name = int(fact.data.get("index", -1)), str(fact.data.get("name"))
        free = (rows["root"] == index) & (rows["grad"] == 0)
        alone, evaluated = case.written_by_hand(name), bool((free & (rows["training"] == 0)).any())
        if int(free.sum()) > case.n_steps // 2 and (alone or (name in holders and evaluated)):
            found.append(index)
    return found


def _place(case: Case) -> SourceLocation | None:
    for fact in case.run.facts("forward_context"):
        if fact.data.get("grad") is False and fact.data.get("training") is True:
            return case.place(fact)
    return None


CAUSE = Cause(
    id="eval.mode_not_eval",
    title="Evaluation runs in training mode: dropout is on, batch norm uses the evaluation batch",
    phase="eval",
    repair="Call model.eval() before evaluation and model.train() after it.",
    mistaken_for={
        "eval.overfit": "there evaluation runs in eval mode",
        "loop.eval_mode_left_on": "there training runs in eval mode",
    },
    explains=("eval.overfit",),
    intervention="force eval mode in forwards without gradients",
    interventions=("evaluate_without_gradients",),
    next_measurement="evaluation in both modes",
    weigh=weigh,
    source="ethos-ares#20",
)
