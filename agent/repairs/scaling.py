"""Repairs of scale: where the data are kept, or at the call of the model and of the loss with what was measured."""

from __future__ import annotations

import re

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, positional
from aitia.agent.repairs.arrays import Kept, held_out, kept, trained_calls, untracked
from aitia.agent.repairs.flow import backward_roots, made_of
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import argument, number

EVEN = 10.0
"""Spreads of features that differ by less can be scaled with one number."""
SCALERS = ("StandardScaler", "MinMaxScaler", "scale", "standardize", "normalize", "RobustScaler")


def unscaled_input(accused: Accused) -> list[Patch]:
    """Standardize the features: each by itself where they differ, else all with what was measured."""
    found = [_array_of_inputs(accused), _scaled_at_the_call(accused)]
    return [p for p in (found if _table(accused) else found[::-1]) if p is not None]


def _table(accused: Accused) -> bool:
    """Whether features have units of their own: rows for a linear layer, and no pixels, which share their range."""
    uneven = max((float(f.data.get("feature_std_ratio") or 0) for f in accused.run.facts("model_seen")), default=0.0)
    first = next((x for x in accused.run.layers if x.kind in {"linear", "conv", "rnn", "embedding"}), None)
    rows = accused.run.table("batch")
    low, high = (rows[name][rows["grad"] == 1] for name in ("in_min", "in_max"))
    pixels = len(high) > 1 and not low.any() and len(np.unique(high)) == 1
    return uneven > EVEN or (first is not None and first.kind == "linear" and not pixels)


def unscaled_target(accused: Accused) -> list[Patch]:
    """Standardize the targets: for the loss alone, with predictions in their own units, else where they are kept."""
    return [p for p in (_target_at_the_loss(accused), _array_of_targets(accused)) if p is not None]


def _array_of_inputs(accused: Accused) -> Patch | None:
    for source in accused.sources:
        for call in trained_calls(source, list(accused.forwards(source, source.module))):
            array = kept(source, positional(call)[0].value)
            if array is not None and not _scaled_already(source, array):
                edits = Edits(source)
                _standardize(source, edits, array, "0", "center, spread")
                return accused.patch("standardize each feature", edits)
    return None


def _array_of_targets(accused: Accused) -> Patch | None:
    for source in accused.sources:
        for target in _targets(accused, source):
            array = kept(source, target, 1)
            if array is not None:
                edits = Edits(source)
                _standardize(source, edits, array, "", "middle, width")
                return accused.patch("standardize the targets", edits)
    return None


def _standardize(source: Source, edits: Edits, array: Kept, along: str, names: str) -> None:
    """Lines behind the last statement that makes the array; its held-out part with the same numbers."""
    other, (center, spread) = held_out(source, array), names.split(", ")
    made, x = array.made, array.name
    same = other is not None and source.scope(other.made) is source.scope(made)
    if same and other is not None and source.line(other.made) > source.line(made):
        made = other.made
    small = " + 1e-8" if along else ""
    lines = [f"{center}, {spread} = {x}.mean({along}), {x}.std({along}){small}", f"{x} = ({x} - {center}) / {spread}"]
    if same and other is not None:
        lines.append(f"{other.name} = ({other.name} - {center}) / {spread}")
    elif other is None:
        width = f"({x}.std({along}){small})" if small else f"{x}.std()"
        lines = [f"{x} = ({x} - {x}.mean({along})) / {width}"]
    edits.after(made, *lines)


def _scaled_already(source: Source, array: Kept) -> bool:
    text = " ".join(source.code(s) for s in source.nodes(cst.SimpleStatementLine) if array.name in source.code(s))
    return any(re.search(rf"\b{s}\b", text) for s in SCALERS)


def _targets(accused: Accused, source: Source) -> list[cst.BaseExpression]:
    """What training losses compare outputs with: a second argument, or the other side of a difference to a forward."""
    found = [t for c in loss_calls(accused, source)
             if not untracked(source, c) and (t := argument(c, 1, "target")) is not None]  # fmt: skip
    for value in [] if found else [v for root in backward_roots(source) for v in made_of(source, root)]:
        for difference in source.nodes(cst.BinaryOperation, value):
            if isinstance(difference.operator, cst.Subtract):
                found += _other_side(accused, source, difference)
    return found


def _other_side(accused: Accused, source: Source, difference: cst.BinaryOperation) -> list[cst.BaseExpression]:
    forwards = list(accused.forwards(source, source.module))
    for one, other in ((difference.left, difference.right), (difference.right, difference.left)):
        predicted = any(c in forwards for v in made_of(source, one, 2) for c in source.nodes(cst.Call, v))
        plain = number(other) is None and not any(
            c in forwards for v in made_of(source, other, 2) for c in source.nodes(cst.Call, v)
        )
        if predicted and plain:
            return [other]
    return []


def _scaled_at_the_call(accused: Accused) -> Patch | None:
    """Standardize what the model is given, with the mean and deviation that were measured in training."""
    found = _measured(accused, "batch", "in_mean", "in_std")
    for source in accused.sources if found is not None else ():
        edits, (center, spread) = Edits(source), found or (0.0, 1.0)
        for call in accused.forwards(source, source.module):
            if positional(call) and source.code(call.func) != "self":
                given = positional(call)[0].value
                edits.replace(given, f"({source.atom(given)} - {center:g}) / {spread:g}")
        patch = accused.patch(f"standardize the input (mean {center:g}, deviation {spread:g})", edits)
        if patch is not None:
            return patch
    return None


def _target_at_the_loss(accused: Accused) -> Patch | None:
    """Train on standardized targets, and give predictions back in the target's own units."""
    found = _measured(accused, "loss", "target_mean", "target_std")
    for source in accused.sources if found is not None else ():
        edits, (center, spread) = Edits(source), found or (0.0, 1.0)
        losses = [c for c in loss_calls(accused, source) if not untracked(source, c)]
        targets = [t for c in losses if (t := argument(c, 1, "target")) is not None]
        for target in targets:
            edits.replace(target, f"({source.atom(target)} - {center:g}) / {spread:g}")
        for call in accused.forwards(source, source.module) if targets else ():
            if source.code(call.func) != "self" and _predicts(source, call, losses):
                edits.replace(call, f"({source.code(call)} * {spread:g} + {center:g})")
        patch = accused.patch(f"standardize the target (mean {center:g}, deviation {spread:g})", edits)
        if targets and patch is not None:
            return patch
    return None


def _predicts(source: Source, call: cst.Call, losses: list[cst.Call]) -> bool:
    """Whether a forward is made for its outputs: without gradients, or where no loss is taken and nothing trained."""
    if untracked(source, call):
        return True
    loop, function = source.loop(call), source.function(call)
    around = loop.body if loop is not None else function
    if around is None:
        return not any(call in list(source.nodes(cst.Call, loss)) for loss in losses)
    inside = {id(c) for c in source.nodes(cst.Call, around)}
    return not source.calls("backward", "step", within=around) and not any(id(loss) in inside for loss in losses)


def _measured(accused: Accused, table: str, mean: str, deviation: str) -> tuple[float, float] | None:
    """Median mean and deviation of the training batches, to three digits."""
    rows = accused.run.table(table)
    trained = rows["grad"] == 1
    if not trained.any():
        return None
    center, spread = (float(f"{np.nanmedian(rows[name][trained]):.3g}") for name in (mean, deviation))
    return (center, spread) if np.isfinite([center, spread]).all() and spread > 0 else None
