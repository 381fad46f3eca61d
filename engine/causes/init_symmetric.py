"""All units of a layer start equal, and so stay equal.

Source: SO 55006469, 48027263, 35961434.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Rows of a trained weight matrix that are identical at the end."""
    found = [f for f in case.probes.get("unit_symmetry", []) if f.data.get("symmetric")]
    names = [str(n) for f in found for n in f.data.get("symmetric") or []]
    names = [n for n in names if n and not _untrained(case, n)]
    if not names:
        return
    moved = any(p.optimizers for p in case.trainable)
    yield supports(
        DECISIVE if moved else MODERATE,
        f"the units of {listing(names)} are identical to each other, and training cannot tell "
        "them apart: they were initialised alike",
        tool="layer_analyzer",
        subject=_module(case, names),
        step=1,
        layers=len(names),
    )
    if case.flat or not case.learned:
        yield symptom(MODERATE, f"the loss stalls at {case.loss.last:.3g}", loss=case.loss.last)


def _untrained(case: Case, name: str) -> bool:
    """A weight of the optimizer's that never had a gradient is still as it began: what kept the gradient away is the cause."""
    p = case.run.parameter(name)
    if p is None or not p.optimizers:
        return False
    present = case.column("grad_present", p.index)
    return bool(np.isfinite(present).any() and not (present[np.isfinite(present)] > 0).any())


def _module(case: Case, names: list[str]) -> str | None:
    if not names:
        return None
    return case.owner(names[0]) if case.run.parameter(names[0]) else names[0]


CAUSE = Cause(
    id="init.symmetric",
    title="All units of a layer were initialised alike, so they learn the same thing",
    phase="setup",
    repair="Initialise weights at random (the default of torch does).",
    weigh=weigh,
    mistaken_for={
        "model.capacity_bottleneck": "there units differ",
        "optimizer.lr_too_low": "there weights hardly move",
    },
    explains=(
        "model.dead_units",
        "numerics.vanishing_gradient",
        "model.capacity_bottleneck",
        "init.wrong_scale",
        "eval.underfit_stopped_early",
        "optimizer.lr_too_low",
        "optimizer.lr_too_high",
        "model.missing_nonlinearity",
        "model.saturated_units",
    ),
    intervention="re-initialise the layer at random",
    interventions=("reinitialise",),
    next_measurement="pairwise distance of the units",
    source="SO 55006469",
)
