"""Reentrant checkpointing of a block whose inputs ask for no gradient: nothing inside it learns.

Source: microsoft/LoRA#120; huggingface/transformers#35826.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """torch's own warning, and parameters without a gradient inside blocks that ran."""
    warned = [
        f
        for f in case.run.facts("warning")
        if "None of the inputs have requires_grad=True" in str(f.data.get("message", ""))
    ]
    if not warned:
        return
    silent = []
    for p in case.trainable:
        present = case.column("grad_present", p.index)
        seen = np.isfinite(present)
        if p.optimizers and seen.any() and not (present[seen] > 0).any():
            silent.append(p)
    if silent:
        yield supports(
            DECISIVE,
            f"activation checkpointing warned that no input asks for a gradient, and {listing(p.name for p in silent)} "
            "never had one",
            tool="gradient_debugger",
            subject=silent[0].layer,
            step=1,
            where=case.place(warned[0]),
            parameters=len(silent),
        )


CAUSE = Cause(
    id="graph.checkpoint_no_input_grad",
    title="A checkpointed block gets inputs without gradient, so its parameters receive none",
    phase="backward",
    repair="Use checkpoint(..., use_reentrant=False), or enable_input_require_grads().",
    mistaken_for={"graph.no_grad_region": "there no checkpoint is involved"},
    explains=(
        "graph.no_grad_region",
        "graph.non_differentiable_op",
        "graph.stale_module",
        "graph.detach_in_generator_step",
        "eval.underfit_stopped_early",
    ),
    intervention="use_reentrant=False",
    interventions=("checkpoint_without_reentry",),
    next_measurement="gradients inside the block without checkpointing",
    weigh=weigh,
    source="huggingface/transformers#35826",
)
