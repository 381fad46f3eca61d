"""Repairs of scale at the call of the model, where the data themselves come from a place no other repair knows."""

from __future__ import annotations

import re

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, positional
from aitia.agent.repairs.loss import loss_calls
from aitia.agent.repairs.source import number

PADDING = re.compile(r"(?i)pad")


def scaled_at_the_call(accused: Accused) -> Patch | None:
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


def target_scaled_at_the_loss(accused: Accused) -> Patch | None:
    """Train on standardized targets, and give predictions back in the target's own units."""
    found = _measured(accused, "loss", "target_mean", "target_std")
    for source in accused.sources if found is not None else ():
        edits, (center, spread) = Edits(source), found or (0.0, 1.0)
        trained = {f for c in source.calls("backward") if (f := source.loop(c)) is not None}
        changed = False
        for call in loss_calls(accused, source):
            two = positional(call)
            if len(two) > 1 and any(source.loop(call) is loop for loop in trained) and not _untracked(source, call):
                edits.replace(two[1].value, f"({source.atom(two[1].value)} - {center:g}) / {spread:g}")
                changed = True
        for call in accused.forwards(source, source.module) if changed else ():
            if _untracked(source, call) and source.code(call.func) != "self":
                edits.replace(call, f"({source.code(call)} * {spread:g} + {center:g})")
        patch = accused.patch(f"standardize the target (mean {center:g}, deviation {spread:g})", edits)
        if changed and patch is not None:
            return patch
    return None


def padding_by_value(accused: Accused) -> Patch | None:
    """Leave out of the loss what sequences are padded with."""
    for source in accused.sources:
        given = [a for c in source.nodes(cst.Call) for name in ("padding_value", "padding_idx", "pad_id")
                 if (a := keyword(c, name)) is not None]  # fmt: skip
        values = list(dict.fromkeys(source.code(a.value) for a in given))
        calls = source.calls("CrossEntropyLoss", "NLLLoss") or source.calls("cross_entropy", "nll_loss")
        call = accused.pick([c for c in calls if keyword(c, "ignore_index") is None], source)
        if call is None or len(values) != 1 or (number(given[0].value) is None and not PADDING.search(values[0])):
            continue
        edits = Edits(source)
        inside = ", ".join([*(source.code(a).rstrip(", ") for a in call.args), f"ignore_index={values[0]}"])
        edits.replace(call, f"{source.code(call.func)}({inside})")
        return accused.patch("leave padding out of the loss", edits)
    return None


def _measured(accused: Accused, table: str, mean: str, deviation: str) -> tuple[float, float] | None:
    """Median mean and deviation of the training batches, to three digits."""
    rows = accused.run.table(table)
    trained = rows["grad"] == 1
    if not trained.any():
        return None
    center, spread = (float(f"{np.nanmedian(rows[name][trained]):.3g}") for name in (mean, deviation))
    return (center, spread) if np.isfinite([center, spread]).all() and spread > 0 else None


def _untracked(source: Source, node: cst.CSTNode) -> bool:
    """Whether a node stands in a block or function without gradients."""
    at = source.enclosing(node, (cst.With, cst.FunctionDef))
    while at is not None:
        names = ("no_grad", "inference_mode")
        if isinstance(at, cst.With) and any(source.calls(*names, within=i) for i in at.items):
            return True
        if isinstance(at, cst.FunctionDef) and any(n in source.code(d) for d in at.decorators for n in names):
            return True
        at = source.enclosing(at, (cst.With, cst.FunctionDef))
    return False
