"""Part of a trained model runs without gradient tracking.

Healthy twin: features of a network that is ready, computed under no_grad on purpose.
Source: pytorch/pytorch#105211.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports
from aitia.engine.records import ParameterInfo, SourceLocation

MOVED = 1e-5
"""Change of a norm, against itself, that is more than rounding."""
FITS = 0.9
"""Share of the way from chance to 1 that a head on features which suffice passes on its own training data."""


def weigh(case: Case) -> Iterator[Weight]:
    """Layers that ran, ask for gradients, are held by an optimizer - and whose output carries none."""
    held = [p for p in case.trainable if p.optimizers]
    if not held or case.n_backward < 2:
        return
    silent = [p for p in held if _never(case, p.index)]
    moving = [p for p in held if nanmax(case.column("grad_norm", p.index)) > 0]
    if not silent or not moving:
        return
    graph = [f for f in case.run.facts("graph") if f.data.get("not_reached_trainable")]
    ran = {x.name for x in case.run.layers if nanmax(case.layer_series(x, "calls")) > 0}
    off = {str(n) for f in case.run.facts("untracked") for n in f.data.get("layers", [])}
    silent_layers = list(dict.fromkeys(str(p.layer) for p in silent))
    cut = [n for n in silent_layers if n in off or n in blind(case)]
    if not cut or _led_by_hand(case, [p for p in silent if p.layer in cut]):
        return
    yield supports(
        DECISIVE,
        f"{listing(p.name for p in silent)} ask for gradients and are in the optimizer, but {listing(cut)} ran with "
        "gradient tracking off: no gradient ever reached them",
        tool="gradient_debugger",
        subject=cut[0],
        step=1,
        where=_where(case, cut),
        parameters=len(silent),
        layers=len(cut),
    )
    if graph and ran:
        yield supports(MODERATE, "the autograd graph of the loss does not reach them", tool="gradient_debugger")
    if _ready_made(case, silent) and _fits(case):
        yield against(
            2 * STRONG,
            "they were loaded or trained before, and what learns on top of them fits the training data: features on purpose",
        )


def _ready_made(case: Case, silent: list[ParameterInfo]) -> bool:
    """Whether the matrices among them came from a file, another model, or an earlier part of this training."""
    given = {str(n) for f in case.run.facts("weights_given") for n in f.data.get("names") or []}
    matrices = [p for p in silent if len(p.shape) > 1]
    moved = (nanmax(case.column("update_norm", p.index)) > 0 for p in matrices)
    return bool(matrices) and all(p.name in given or m for p, m in zip(matrices, moved, strict=True))


def _led_by_hand(case: Case, silent: list[ParameterInfo]) -> bool:
    """Whether their values change without any gradient: a teacher that follows its student as an average."""
    matrices = [p for p in silent if len(p.shape) > 1]
    norms = [case.column("weight_norm", p.index) for p in matrices]
    known = [n[np.isfinite(n)] for n in norms]
    return bool(known) and all(len(n) > 1 and float(np.ptp(n)) > MOVED * float(n.max()) for n in known)


def _fits(case: Case) -> bool:
    accuracy = case.accuracy(grad=True)
    if accuracy.n and math.isfinite(case.chance):
        return accuracy.last > case.chance + FITS * (1 - case.chance)
    return case.learned


def blind(case: Case) -> set[str]:
    """Layers with trainable weights whose output never carried a gradient: with tracking on, their own weights would."""
    seen = ((x.name, nanmax(case.layer_series(x, "out_tracked"))) for x in case.kinds("linear", "conv", "embedding"))
    return {name for name, tracked in seen if tracked == 0}


def _never(case: Case, index: int) -> bool:
    present = case.column("grad_present", index)
    seen = np.isfinite(present)
    return bool(seen.any() and not (present[seen] > 0).any())


def _where(case: Case, names: list[str]) -> SourceLocation | None:
    for fact in case.run.facts("untracked"):
        if set(map(str, fact.data.get("layers", []))) & set(names) and fact.file:
            lines = [int(line) for line in fact.data.get("lines") or [fact.line]]
            return SourceLocation(file=fact.file, lines=tuple(lines))
    return None


CAUSE = Cause(
    id="graph.no_grad_region",
    title="Trained layers run under no_grad (or inference_mode), so they receive no gradient",
    phase="forward",
    repair="Take the layers that should learn out of the no_grad block.",
    mistaken_for={
        "optimizer.frozen_by_mistake": "there requires_grad is off",
        "graph.stale_module": "there the layers are never called",
        "graph.non_differentiable_op": "there tracking is on and an operation cuts the graph",
    },
    explains=("eval.underfit_stopped_early", "optimizer.lr_too_low", "graph.non_differentiable_op"),
    intervention="enable gradients in the region",
    interventions=("no_grad_off",),
    next_measurement="grad mode of every layer's forward",
    weigh=weigh,
    source="pytorch/pytorch#105211",
)
