"""Trainable parameters with gradients that nobody put into an optimizer group.

Healthy twin: feature extraction, where only the head is given to the optimizer on purpose.
Source: facebookresearch/mmf PR 620; huggingface/setfit#271 (by design).
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Gradients that are computed and thrown away, step after step."""
    if case.covered("held_not_in_model") or not case.run.optimizers:
        return
    infos = [p for p in case.run.parameters if p.name in set(case.covered("trainable_not_held")) and p.in_model]
    lost = [p for p in infos if nanmax(case.column("grad_norm", p.index)) > 0]
    if not lost:
        return
    held = [p for p in case.trainable if p.optimizers]
    numel = sum(_numel(p.shape) for p in lost)
    share = numel / max(1, numel + sum(_numel(p.shape) for p in held))
    peak = max(nanmax(case.column("grad_norm", p.index)) for p in lost)
    yield supports(
        DECISIVE,
        f"{listing(p.name for p in lost)} had gradients (norm up to {peak:.3g}) but are in no optimizer group: "
        f"{100 * share:.0f} % of the trainable weights never moved",
        tool="gradient_debugger",
        subject=case.owner(lost[0].name),
        step=1,
        where=case.optimizer_place(),
        grad_norm=peak,
        missing_share=share,
        missing=len(lost),
    )
    yield from _on_purpose(case, [p.index for p in lost], [p.index for p in held])


def _on_purpose(case: Case, lost: list[int], held: list[int]) -> Iterator[Weight]:
    """Training only the last layers is a common choice; leaving out a layer in the middle or at the end is not."""
    only_tail = bool(lost) and bool(held) and max(lost) < min(held)
    trained_before = [i for i in lost if nanmax(case.column("update_norm", i)) > 0]
    if trained_before:
        yield against(
            STRONG,
            "these parameters were trained earlier in this run: leaving them out now looks deliberate",
            trained_before=len(trained_before),
        )
    elif only_tail and case.learned:
        yield against(MODERATE, "only the last layers are optimized and the loss falls: this may be feature extraction")


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for d in shape:
        n *= d
    return n


CAUSE = Cause(
    id="optimizer.params_missing_from_groups",
    title="Trainable parameters receive gradients but are in no optimizer group",
    phase="setup",
    repair="Give the optimizer all trainable parameters, or freeze the ones that are left out on purpose (requires_grad_(False)).",
    weigh=weigh,
    mistaken_for={
        "optimizer.stale_param_reference": "there the optimizer holds tensors that no model uses",
        "optimizer.frozen_by_mistake": "there requires_grad is off and the gradient absent",
    },
    explains=("optimizer.lr_too_low", "eval.underfit_stopped_early"),
    intervention="add the missing parameters to the optimizer",
    interventions=("add_missing_parameters",),
    next_measurement="which parameters every optimizer group holds",
    source="facebookresearch/mmf PR 620",
)
