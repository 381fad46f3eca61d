"""A loss that cannot express the task: cross entropy over one logit, squared error on class ids.

Source: SO 49931055, 34886605, 59129802.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports
from aitia.engine.records import Fact

REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
SIGNED = ("soft_margin_loss", "hinge_embedding_loss", "cosine_embedding_loss", "margin_ranking_loss")
"""Losses whose targets are 1 and -1."""
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
FEW = 3
"""Loss calls that say nothing yet of what targets look like."""
ROUNDING = 0.01
"""Distance from 1 that is more than rounding in a mean over a batch."""
EXPLAINED = 0.25
"""A squared error below this share of the targets' variance: the model predicts them as amounts, whatever they mean."""


def weigh(case: Case) -> Iterator[Weight]:
    """Width of the output against the kind of target."""
    for fact in case.train_loss_calls:
        function, shape = fact.data.get("function"), fact.data.get("input_shape") or []
        where = case.place(fact)
        if function == "cross_entropy" and len(shape) >= 2 and shape[1] == 1:
            yield supports(
                DECISIVE,
                "cross_entropy over a single logit is 0 whatever the model says: softmax of one value is 1",
                step=1,
                where=where,
                n_classes=1,
            )
        elif function == "cross_entropy" and _independent(case, fact):
            each = _row_sum(case, fact)
            yield supports(
                DECISIVE,
                f"the targets of cross_entropy are whole numbers for each of {shape[1]} outputs and add up to {each:.2g} a sample, not "
                "to 1: several labels can be true at once, but softmax makes them share one certainty",
                step=1,
                where=where,
                row_sum=each,
            )
        elif function == "binary_cross_entropy" and _shared(fact) and _independent(case, fact):
            each = _row_sum(case, fact)
            yield supports(
                DECISIVE,
                f"what binary_cross_entropy is given comes from a softmax over {shape[1]} labels and adds up to 1 a sample, the "
                f"targets to {each:.2g}: several labels can be true at once, but they share one certainty",
                step=1,
                where=where,
                row_sum=each,
            )
        elif function in SIGNED and (fact.data.get("target_lowest"), fact.data.get("target_highest")) == (0, 1):
            yield supports(
                DECISIVE,
                f"{function} takes 1 and -1 for its targets, and is given 1 and 0: what is 0 counts for nothing",
                step=1,
                where=where,
                lowest=0.0,
            )
        elif function in BINARY and float(fact.data.get("target_highest") or 0) > 1.0:
            yield supports(
                DECISIVE,
                f"{function} compares with probabilities, but the targets go up to {fact.data['target_highest']:.3g}: class ids "
                "are treated as certainty",
                step=1,
                where=where,
                target_max=float(fact.data["target_highest"]),
            )
        elif function in REGRESSION and "int" in str(
            fact.data.get("target_source_dtype", fact.data.get("target_dtype"))
        ):
            yield from _class_ids(case, function, where_fact=fact)
        elif function in REGRESSION:
            low, high = fact.data.get("target_lowest"), fact.data.get("target_highest")
            few = isinstance(low, (int, float)) and isinstance(high, (int, float)) and 2 <= high - low <= 64
            if fact.data.get("target_integral") is True and few and not fact.data.get("broadcast"):
                yield from _class_ids(case, function, where_fact=fact)
    for layer in case.run.layers:
        if layer.cls == "Softmax" and nanmedian(case.layer_series(layer, "out_min")) == 1.0 == nanmax(
            case.layer_series(layer, "out_max")
        ):
            yield supports(
                DECISIVE,
                f"{layer.name} is a softmax over one unit: its output is the constant 1",
                tool="layer_analyzer",
                subject=layer.name,
                step=1,
            )


def _row_sum(case: Case, fact: Fact) -> float:
    """Sum of a sample's targets over the classes, on average."""
    rows = case.calls(grad=True, site=case.site_of(fact))
    return nanmedian(rows["target_mean"]) * int(fact.data["input_shape"][1])


def _shared(fact: Fact) -> bool:
    """Whether the probabilities of a sample were made to add up to 1."""
    return fact.data.get("input_is_prob") is True and str(fact.data.get("input_by")).startswith("Softmax")


def _independent(case: Case, fact: Fact) -> bool:
    """Whether 0 and 1 stand for every class on its own, where a distribution over the classes is expected or given."""
    shape, target = fact.data.get("input_shape") or [], fact.data.get("target_shape") or []
    if len(shape) != 2 or shape != target or fact.data.get("target_integral") is not True:
        return False
    rows = case.calls(grad=True, site=case.site_of(fact))
    sums = rows["target_mean"] * int(shape[1])
    return len(sums) >= FEW and abs(nanmedian(sums) - 1.0) > ROUNDING and float(np.std(sums)) > ROUNDING


def _class_ids(case: Case, function: object, where_fact: Fact) -> Iterator[Weight]:
    fact = where_fact
    rows = case.calls(grad=True)
    low, high = nanmedian(rows["target_min"]), nanmax(rows["target_max"])
    shape = fact.data.get("input_shape") or []
    width = int(shape[-1]) if len(shape) > 1 else 1
    if low < 0 or high < 2 or width > 1:
        return
    yield supports(
        STRONG,
        f"{function} against whole-number targets from {low:.0f} to {high:.0f}: class ids are treated as amounts",
        step=1,
        where=case.place(fact),
        target_min=low,
        target_max=high,
    )
    left = nanmedian(rows["value"][-10:]) / max(nanmedian(rows["target_std"]) ** 2, 1e-12)
    squared = fact.data.get("function") == "mse_loss"
    if (left < EXPLAINED) if squared else case.learned:
        yield against(MODERATE, "the loss falls clearly: the numbers may be counts", fall=case.loss.fall)


CAUSE = Cause(
    id="loss.wrong_for_task",
    title="The loss does not fit the task: it cannot express what the targets mean",
    phase="loss",
    repair="Use cross_entropy with one logit per class (or binary_cross_entropy_with_logits with one logit) for classes.",
    weigh=weigh,
    mistaken_for={
        "loss.shape_broadcast": "there shapes broadcast",
        "eval.metric_bug": "there the loss itself is right",
    },
    explains=(
        "optimizer.lr_too_low",
        "numerics.vanishing_gradient",
        "eval.underfit_stopped_early",
        "model.saturated_units",
        "graph.no_grad_region",
        "data.class_imbalance",
    ),
    intervention="replace the loss",
    next_measurement="output width against the number of distinct targets",
    source="SO 49931055",
)
