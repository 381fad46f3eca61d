"""All units of a layer start equal, and so stay equal.

Source: SO 55006469, 48027263, 35961434.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Rows of a trained weight matrix that are identical at the end."""
    found = [f for f in case.probes.get("unit_symmetry", []) if f.data.get("symmetric")]
    names = [str(n) for f in found for n in f.data.get("symmetric") or []]
    names = [n for n in names if n and not _untrained(case, n)]
    if not names:
        yield from _before(case)
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


def _before(case: Case) -> Iterator[Weight]:
    """A trained layer that treats all of its inputs alike: the units before it give the same, whatever layer they are of."""
    zero = {str(n) for f in case.probes.get("unit_symmetry", []) for n in f.data.get("zero") or []}
    alike = [str(n) for f in case.probes.get("unit_symmetry", []) for n in f.data.get("equal_columns") or []]
    names = [n for n in alike if n not in zero and _moved(case, n)]
    if not names:
        return
    yield supports(
        DECISIVE,
        f"{listing(names)} was trained, and its columns are identical to each other: the units that feed it say the same for "
        "every sample, because they were initialised alike",
        tool="layer_analyzer",
        subject=_module(case, names),
        step=1,
        layers=len(names),
    )
    if case.flat or not case.learned:
        yield symptom(MODERATE, f"the loss stalls at {case.loss.last:.3g}", loss=case.loss.last)


def _moved(case: Case, name: str) -> bool:
    """Whether a matrix of that name, within whichever model was looked at, was changed by steps."""
    own = [p for p in case.run.parameters if p.name == name or p.name.endswith(f".{name}")]
    wide = [p for p in own if len(p.shape) > 1 and min(p.shape) > 1]
    return any(nanmax(case.column("update_norm", p.index)) > 0 for p in wide)


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
