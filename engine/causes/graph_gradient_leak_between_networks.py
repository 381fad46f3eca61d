"""One network's step uses gradients that another network's loss left behind.

Source: Lightning-AI/pytorch-lightning#557; BigGAN-PyTorch#25.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Two optimizers, one of them never cleared: its step contains the other loss's gradient."""
    if len(case.run.optimizers) < 2 or case.n_steps < 5:
        return
    total = sum(case.signatures.values())
    for info in case.run.optimizers:
        steps = case.steps_where(lambda calls, i=info.index: any(c.letter == "S" and c.index == i for c in calls))
        clears = case.steps_where(lambda calls, i=info.index: any(c.letter == "Z" and c.index == i for c in calls))
        if total and steps > 0.5 * total and clears < 0.1 * steps:
            others = case.steps_where(lambda calls, i=info.index: any(c.letter == "Z" and c.index != i for c in calls))
            if others < 0.5 * total or _module_cleared(case):
                continue
            yield supports(
                STRONG if not case.learned else MODERATE,
                f"optimizer {info.name} steps in {steps} of {total} iterations and its gradients are cleared in {clears}: gradients of "
                "the other network's loss and of earlier steps stay in its step",
                tool="gradient_debugger",
                step=1,
                where=case.optimizer_place(info.index),
                optimizer=info.name,
                cleared=clears,
            )
            _, carried = case.run.scalar("carried_grad_norm")
            if nanmedian(carried) > 0:
                yield supports(
                    MODERATE + WEAK,
                    f"left-over gradients (norm {nanmedian(carried):.3g}) are there at the first backward",
                    tool="gradient_debugger",
                    carried=nanmedian(carried),
                )


def _module_cleared(case: Case) -> bool:
    return any("Zm" in s for s in case.signatures)


CAUSE = Cause(
    id="graph.gradient_leak_between_networks",
    title="One network's gradients are not cleared before its step, so another loss leaks into it",
    phase="loop",
    repair="Zero both networks' gradients before each backward.",
    mistaken_for={"loop.missing_zero_grad": "there nobody clears anything"},
    explains=("loop.missing_zero_grad", "optimizer.lr_too_high"),
    intervention="zero gradients before each backward",
    interventions=("zero_gradients",),
    next_measurement="gradient against the fresh gradient, per network",
    weigh=weigh,
    source="BigGAN-PyTorch#25",
)
