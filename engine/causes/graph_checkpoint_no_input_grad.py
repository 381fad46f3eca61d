"""Reentrant checkpointing of a block whose inputs ask for no gradient: nothing inside it learns.

Source: microsoft/LoRA#120; huggingface/transformers#35826.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports
from aitia.engine.records import SourceLocation


def weigh(case: Case) -> Iterator[Weight]:
    """torch's own warning, and parameters without a gradient inside blocks that ran."""
    warned = [
        f
        for f in case.run.facts("warning")
        if "None of the inputs have requires_grad=True" in str(f.data.get("message", ""))
    ]
    place = case.place(warned[0]) if warned else _called(case)
    if not warned and place is None:
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
            (
                "activation checkpointing warned that no input asks for a gradient, and "
                if warned
                else "inside of activation checkpointing gradient tracking is off, and "
            )
            + f"{listing(p.name for p in silent)} never had one",
            tool="gradient_debugger",
            subject=silent[0].layer,
            step=1,
            where=place,
            parameters=len(silent),
        )


def _called(case: Case) -> SourceLocation | None:
    """Line of the program that ran untracked layers through a checkpoint, where one did."""
    for fact in case.run.facts("untracked"):
        text = case.run.sources.get(fact.file or "", "").splitlines()
        for line in fact.data.get("lines") or []:
            if 0 < int(line) <= len(text) and "checkpoint" in text[int(line) - 1]:
                return SourceLocation(file=str(fact.file), lines=(int(line),))
    return None


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
        "init.wrong_scale",
        "eval.underfit_stopped_early",
    ),
    intervention="use_reentrant=False",
    interventions=("checkpoint_without_reentry",),
    next_measurement="gradients inside the block without checkpointing",
    weigh=weigh,
    source="huggingface/transformers#35826",
)
