"""Prediction (N, 1) against target (N): the loss compares every prediction with every target.

Source: SO 49206550, 50896412; Karpathy, A Recipe for Training Neural Networks.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom
from aitia.engine.records import SourceLocation


def weigh(case: Case) -> Iterator[Weight]:
    """Shapes that differ and broadcast inside an elementwise loss, one of torch's or one written by hand."""
    found = False
    for fact in case.train_loss_calls:
        if not fact.data.get("broadcast"):
            continue
        left, right = fact.data.get("input_shape"), fact.data.get("target_shape")
        yield supports(
            DECISIVE,
            f"{fact.data.get('function')} got a prediction of shape {left} and a target of shape {right}: they "
            "broadcast, so each prediction is compared with every target",
            tool="layer_analyzer",
            step=max(1, fact.step),
            where=case.place(fact),
            input_shape=str(left),
            target_shape=str(right),
        )
        rows = case.calls(grad=True)
        if len(rows["step"]) > 10:
            ratio = float(rows["in_std"][-1] / rows["target_std"][-1]) if rows["target_std"][-1] > 0 else 1.0
            if ratio < 0.3:
                yield symptom(
                    MODERATE, f"predictions collapse to the mean (spread {ratio:.2f} of the target's)", ratio=ratio
                )
        found = True
        break
    if not found:
        yield from _by_hand(case)


def _by_hand(case: Case) -> Iterator[Weight]:
    """Prediction (N, 1) minus target (N): the one has a gradient, the other not; all pairs by intention have equal ranks."""
    for fact in case.run.facts("loss_code"):
        for op in fact.data.get("ops") or []:
            shapes, tracked = op.get("inputs") or [], op.get("tracked") or []
            if op.get("op") not in {"sub", "rsub"} or not op.get("expanding") or len(shapes) != 2 or len(tracked) != 2:
                continue
            long, short = sorted(shapes, key=len, reverse=True)
            if tracked[0] == tracked[1] or long != [*short, 1]:
                continue
            line = op.get("line")
            yield supports(
                DECISIVE,
                f"the loss subtracts a tensor of shape {shapes[1]} from one of shape {shapes[0]}: they broadcast to "
                f"{op.get('output')}, so each prediction is compared with every target",
                tool="layer_analyzer",
                step=max(1, fact.step),
                where=SourceLocation(file=fact.file, lines=(int(line),)) if fact.file and line else case.place(fact),
                input_shape=str(shapes[0]),
                target_shape=str(shapes[1]),
            )
            return


CAUSE = Cause(
    id="loss.shape_broadcast",
    title="Prediction and target have different shapes that broadcast, so the loss compares all pairs",
    phase="loss",
    repair="Bring both to the same shape (squeeze the prediction or unsqueeze the target).",
    weigh=weigh,
    mistaken_for={"data.label_misaligned": "there shapes agree"},
    explains=("eval.underfit_stopped_early", "model.capacity_bottleneck", "data.label_misaligned"),
    intervention="reshape the target to the prediction's shape",
    interventions=("match_shapes",),
    next_measurement="shapes of both arguments of the loss",
    source="SO 49206550",
)
