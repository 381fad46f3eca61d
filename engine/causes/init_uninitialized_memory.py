"""Parameters made of whatever was in memory: torch.empty, torch.Tensor(n).

Source: multi_part_assembly#4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

ABSURD = 1e8
"""No initialiser makes weights of this size; memory that was not written often holds such patterns."""
DENORMAL = 1e-30
"""Nor of this size, unless they are 0."""


def weigh(case: Case) -> Iterator[Weight]:
    """Absurd values in one parameter that the first step found there, next to sane neighbours."""
    if not len(case.param_steps):
        return
    top, norm, moved = (
        case.param(name)[0].astype(np.float64) for name in ("weight_absmax", "weight_norm", "update_norm")
    )
    struck = case.run.fact("nonfinite")
    if struck is not None and struck.data.get("kind") == "parameter" and struck.data.get("where") == "setup":
        names = [str(n) for n in struck.data.get("parameters") or []]
        if struck.step <= 1 and not case.run.facts("weights_given"):
            yield supports(
                DECISIVE,
                f"{listing(names)} held NaN or Inf before the first forward pass, and nothing was loaded into them: memory "
                "that nobody initialised",
                tool="layer_analyzer",
                subject=names[0] if names else None,
                step=1,
            )
            return
    by_step = struck is not None and struck.data.get("where") == "step"
    for p in case.run.parameters:
        if not p.in_model or p.index >= len(top):
            continue
        size, step = float(top[p.index]), float(moved[p.index])
        made_by_step = math.isfinite(step) and step > 0.5 * float(norm[p.index])
        made_by_step |= by_step and not math.isfinite(size)
        absurd = size > ABSURD or 0 < size < DENORMAL
        if absurd and not made_by_step:
            yield supports(
                DECISIVE,
                f"the largest value of {p.name} is {size:.3g} at the first step, and no step made it so: memory that nobody "
                "initialised",
                tool="layer_analyzer",
                subject=p.name,
                step=1,
                absmax=size,
            )
            return


CAUSE = Cause(
    id="init.uninitialized_memory",
    title="A parameter was created from uninitialised memory",
    phase="setup",
    repair="Initialise it (torch.zeros, torch.randn, nn.init) instead of torch.empty or torch.Tensor(n).",
    weigh=weigh,
    mistaken_for={"init.wrong_scale": "there values are off by a factor, not absurd"},
    explains=(
        "model.saturated_units",
        "init.wrong_scale",
        "optimizer.silent_no_update",
        "data.unscaled_input",
        "optimizer.lr_too_low",
        "numerics.exp_overflow",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "model.dead_units",
    ),
    intervention="initialise the parameter with zeros",
    interventions=("reinitialise",),
    next_measurement="values of every parameter before the first step",
    source="multi_part_assembly#4",
)
