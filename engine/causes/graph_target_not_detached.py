"""Gradient flows into the target of a bootstrapped loss.

Source: BYOL and DQN practice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Cause, Weight, supports, symptom

BRANCHES = 4
"""Two views, seen from both sides. A layer that runs more often walks along a sequence."""
COMPARING = frozenset({"cosine_similarity", "sub", "mul", "mse_loss", "pairwise_distance", "dist", "einsum"})


def weigh(case: Case) -> Iterator[Weight]:
    """A regression target that asks for gradients; or two branches of one network that agree because they are constant."""
    if not case.run.losses:
        yield from _collapse(case)
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


def _compares_branches(case: Case) -> bool:
    """The loss sets two results of the network against each other, entry by entry or as directions."""
    for fact in case.run.facts("loss_code"):
        for op in fact.data.get("ops") or []:
            shapes = op.get("inputs") or []
            if op.get("op") not in COMPARING or op.get("tracked") != [True, True] or len(shapes) != 2:
                continue
            if shapes[0] == shapes[1] and len(shapes[0]) > 1:
                return True
    return False


def _collapse(case: Case) -> Iterator[Weight]:
    """Without labels: a layer that serves two branches loses what tells samples apart, while the loss improves."""
    if not case.loss.n or not case.loss.fall > 0.02 or case.nonfinite_step is not None:
        return
    if not _compares_branches(case):
        return
    for layer in reversed([x for x in case.leaves if x.kind in {"linear", "conv"}]):
        if not 2 <= nanmedian(case.layer_series(layer, "calls")) <= BRANCHES:
            continue
        with np.errstate(all="ignore"):
            share = case.layer_series(layer, "out_sample_std") / case.layer_series(layer, "out_std")
        share = share[np.isfinite(share)]
        if len(share) < 6:
            continue
        first, last = nanmedian(share[:3]), nanmedian(share[-3:])
        if first > 0.5 and last < 0.5 * first and last < 0.35:
            yield supports(
                STRONG + WEAK,
                f"the outputs of {layer.name} become the same for every sample (samples make {100 * last**2:.0f} % of their "
                f"variance, {100 * first**2:.0f} % at first) while the loss improves: both branches are pulled to a constant",
                tool="layer_analyzer",
                subject=layer.name,
                step=1,
                first=first,
                last=last,
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
    interventions=("detach_targets",),
    next_measurement="gradient of the network that makes the target",
    weigh=weigh,
    source="BYOL and DQN practice",
)
