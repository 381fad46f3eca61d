"""Repairs of scale at the call of the model, where the data themselves come from a place no other repair knows."""

from __future__ import annotations

import libcst as cst
import numpy as np

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, positional
from aitia.agent.repairs.loss import loss_calls


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
