"""The generator's loss is computed on a detached sample.

Source: image2reverb#37.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """One of several networks is stepped and never has a gradient, although it ran with tracking on."""
    if len(case.run.optimizers) < 2 or case.n_steps < 3:
        return
    stepped = set(case.run.table("group")["optimizer"].astype(int).tolist())
    called = {x.name for x in case.run.layers if nanmax(case.layer_series(x, "calls")) > 0}
    for info in case.run.optimizers:
        mine = [p for p in case.trainable if info.index in p.optimizers]
        if not mine or info.index not in stepped or not any(p.layer in called for p in mine):
            continue  # layers that no forward pass calls have another cause
        present = [case.column("grad_present", p.index) for p in mine]
        if all(not (x[np.isfinite(x)] > 0).any() for x in present if np.isfinite(x).any()):
            yield supports(
                DECISIVE,
                f"optimizer {info.name} steps, but none of its {len(mine)} parameters ever had a gradient: the loss of that "
                "step does not reach its network",
                tool="gradient_debugger",
                subject=case.owner(mine[0].name).partition(".")[0],
                step=1,
                where=case.optimizer_place(info.index),
                optimizer=info.name,
                parameters=len(mine),
            )


CAUSE = Cause(
    id="graph.detach_in_generator_step",
    title="The generator's own loss is computed on a detached sample, so it never learns",
    phase="loss",
    repair="Do not detach the sample in the generator's step (detach it only in the discriminator's).",
    mistaken_for={"optimizer.wrong_optimizer_stepped": "there gradients exist and the step is missing"},
    explains=(
        "graph.no_grad_region",
        "graph.non_differentiable_op",
        "optimizer.never_stepped",
        "graph.detached_term",
        "graph.gradient_leak_between_networks",
    ),
    intervention="none at run time",
    next_measurement="gradients per network",
    weigh=weigh,
    source="image2reverb#37",
)
