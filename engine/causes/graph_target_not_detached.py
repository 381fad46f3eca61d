"""Gradient flows into the target of a bootstrapped loss.

Source: BYOL and DQN practice.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """A regression target that asks for gradients, and the parameters that made it."""
    for fact in case.train_loss_calls:
        if fact.data.get("target_requires_grad") is not True or fact.data.get("input_requires_grad") is not True:
            continue
        if fact.data.get("function") not in {
            "mse_loss",
            "smooth_l1_loss",
            "huber_loss",
            "l1_loss",
            "cross_entropy",
            "kl_div",
            "cosine_embedding_loss",
            "binary_cross_entropy_with_logits",
        }:
            continue
        rows = case.calls(grad=True)
        collapse = len(rows["target_std"]) > 10 and nanmedian(rows["target_std"][-5:]) < 0.3 * nanmedian(
            rows["target_std"][:5]
        )
        strength = DECISIVE if collapse or case.diverged or not case.learned else STRONG
        yield supports(
            strength,
            f"the target of {fact.data.get('function')} carries a gradient: the loss also pulls the target "
            "towards the prediction",
            tool="gradient_debugger",
            step=1,
            where=case.place(fact),
        )
        if collapse:
            yield symptom(
                MODERATE,
                f"the targets collapse (spread {nanmedian(rows['target_std'][:5]):.3g} to "
                f"{nanmedian(rows['target_std'][-5:]):.3g})",
            )
        return


CAUSE = Cause(
    id="graph.target_not_detached",
    title="The target of the loss is part of the graph, so training moves the target too",
    phase="loss",
    repair="Compute the target under no_grad (or detach it).",
    mistaken_for={"loss.kl_argument_order": "there the prediction carries no gradient"},
    explains=("optimizer.lr_too_high",),
    intervention="detach the target",
    next_measurement="gradient of the network that makes the target",
    weigh=weigh,
    source="BYOL and DQN practice",
)
