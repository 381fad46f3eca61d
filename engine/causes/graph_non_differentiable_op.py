"""An operation without a gradient (argmax, rounding, a comparison) cuts the graph.

Source: TAXONOMY.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.causes.graph_bptt_cut_or_grown import unrolled
from aitia.engine.causes.graph_no_grad_region import blind
from aitia.engine.patterns import CHOICES, hard_choices
from aitia.engine.records import ParameterInfo


def weigh(case: Case) -> Iterator[Weight]:
    """Layers that ran with tracking on and whose parameters the graph of the loss does not reach, before ones that it does."""
    if case.n_backward < 2 or case.run.facts("untracked"):
        return
    held = [p for p in case.trainable if p.optimizers]
    moving = [p for p in held if nanmax(case.column("grad_norm", p.index)) > 0]
    cut = cut_off(case)
    chosen = _chooses(case, cut)
    cut = cut if chosen else needed(case, cut)
    if not cut:
        yield from _flat_step(case, held, moving)
        return
    if all(p.layer in unrolled(case) for p in cut):
        return  # a recurrent state that is detached: its own cause
    if not moving and not case.run.facts("graph"):
        return
    yield supports(
        DECISIVE if not case.learned else STRONG,
        f"{listing(p.name for p in cut)} are in the optimizer and their layers ran with gradient tracking on, but the graph of "
        "the loss never reaches them: something between them and the loss has no gradient",
        tool="gradient_debugger",
        subject=cut[-1].layer,
        step=1,
        parameters=len(cut),
    )
    if chosen and case.learned:
        yield symptom(MODERATE, "in a forward method a value without a gradient is made")


def cut_off(case: Case) -> list[ParameterInfo]:
    """Held parameters of layers that ran with tracking on, which no backward ever reached."""
    silent = [p for p in case.trainable if p.optimizers and _never(case, p.index)]
    called = {x.name for x in case.run.layers if nanmax(case.layer_series(x, "calls")) > 0}
    off = blind(case)  # ran with tracking off: its own cause
    return [p for p in silent if p.layer in called and p.layer not in off]


def needed(case: Case, cut: list[ParameterInfo]) -> list[ParameterInfo]:
    """Those of layers before ones that learn: a parameter beside other layers, or a last head, may be unasked for."""
    leaves = {x.name for x in case.leaves}
    last = max(
        (p.index for p in case.trainable if p.optimizers and nanmax(case.column("grad_norm", p.index)) > 0), default=-1
    )
    return [p for p in cut if p.layer in leaves and (p.index < last or not case.learned)]


def _chooses(case: Case, cut: list[ParameterInfo]) -> bool:
    """Whether a module around these parameters rounds, compares or picks; supports what was measured, no more."""
    around = {
        x.cls
        for x in case.run.layers
        for p in cut
        if p.layer is not None and (x.name in {p.layer, x.root} or p.layer.startswith(f"{x.name}."))
    }
    for text in case.run.sources.values():
        try:
            classes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and n.name in around]
        except (SyntaxError, ValueError):
            continue
        if any(True for owner in classes for _ in hard_choices(owner, CHOICES)):
            return True
    return False


FLAT = ("RoundBackward", "SignBackward", "FloorBackward", "CeilBackward", "TruncBackward", "HeavisideBackward")
"""Operations whose derivative is 0 everywhere: the graph is whole, and nothing comes through."""


def _flat_step(case: Case, held: list[ParameterInfo], moving: list[ParameterInfo]) -> Iterator[Weight]:
    """Gradients that are present and exactly 0 on every step, before an operation with derivative 0."""
    stirs = {p.layer for p in moving}  # a weight alone is at 0 where the input is
    zero = [p for p in held if p.layer not in stirs and _all_zero(case, p.index)]
    if not zero or not moving or max(p.index for p in zero) > min(p.index for p in moving):
        return
    flat = sorted({op for f in case.run.facts("graph") for op in f.data.get("op_counts") or {} if op.startswith(FLAT)})
    if not flat and case.learned:
        return
    yield supports(
        DECISIVE if flat else MODERATE + WEAK,
        f"the gradient of {listing(p.name for p in zero)} is exactly 0 on every step while later layers have one"
        + (f"; {listing(flat)} stands between them, whose derivative is 0" if flat else ""),
        tool="gradient_debugger",
        subject=zero[0].layer,
        step=1,
        parameters=len(zero),
    )


def _never(case: Case, index: int) -> bool:
    present = case.column("grad_present", index)
    seen = np.isfinite(present)
    return bool(seen.any() and not (present[seen] > 0).any())


def _all_zero(case: Case, index: int) -> bool:
    norm = case.column("grad_norm", index)
    return bool(
        np.isfinite(norm).sum() > 4 and nanmax(norm) == 0 and nanmedian(case.column("grad_present", index)) == 1
    )


CAUSE = Cause(
    id="graph.non_differentiable_op",
    title="An operation without a gradient separates layers from the loss",
    phase="forward",
    repair="Replace it by a differentiable surrogate (softmax, straight-through estimator), or keep the tensor instead of a copy.",
    mistaken_for={
        "graph.no_grad_region": "there gradient tracking is off while the layers run",
        "graph.detached_term": "there a whole term of the loss is cut",
    },
    explains=("eval.underfit_stopped_early",),
    intervention="straight-through gradient",
    next_measurement="the last operation before the gradient stops",
    weigh=weigh,
    source="TAXONOMY",
)
