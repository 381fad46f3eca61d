"""Parameters made of whatever was in memory: torch.empty, torch.Tensor(n).

Source: multi_part_assembly#4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports

ABSURD = 1e8
"""No initialiser makes weights of this size; memory that was not written often holds such patterns."""


def weigh(case: Case) -> Iterator[Weight]:
    """Absurd values in one parameter before anything could have made them, next to sane neighbours."""
    for fact in case.run.facts("model_seen"):
        for name, absmax in (fact.data.get("initial_absmax") or {}).items():
            value = float(absmax) if not isinstance(absmax, str) else math.inf
            if not value < ABSURD:
                yield supports(
                    DECISIVE,
                    f"{name} holds values up to {value:.3g} before the first step: memory that nobody initialised",
                    tool="layer_analyzer",
                    subject=str(name),
                    step=1,
                    absmax=value,
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
        "init.wrong_scale",
        "numerics.exp_overflow",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "model.dead_units",
    ),
    intervention="initialise the parameter with zeros",
    next_measurement="values of every parameter before the first step",
    source="multi_part_assembly#4",
)
