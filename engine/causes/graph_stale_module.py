"""Layers that the optimizer trains but the forward pass never calls.

Source: huggingface/diffusers#11903.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, listing, nanmax
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, supports
from aitia.engine.records import ParameterInfo

MOST = 0.5
"""Nobody gives the optimizer mostly layers that are not in use; a forgotten one or two is common and harmless."""


def weigh(case: Case) -> Iterator[Weight]:
    """Trainable layers of a model that ran, with no call and no gradient of their own."""
    if case.n_steps < 3:
        return
    calls = {x.name: nanmax(case.layer_series(x, "calls")) for x in case.run.layers}
    ran = {x.root for x in case.run.layers if calls[x.name] > 0}
    idle = []
    for p in case.trainable:
        layer = case.run.layer(p.layer) if p.layer else None
        if layer is None or layer.root not in ran or not layer.leaf or not p.optimizers:
            continue
        present = case.column("grad_present", p.index)
        never = not (present[np.isfinite(present)] > 0).any()
        if (
            never
            and not calls[layer.name] > 0
            and layer.kind in {"linear", "conv", "embedding", "rnn", "norm", "attention"}
        ):
            idle.append(p)
    if not idle or case.run.facts("untracked"):
        return
    unused = list(dict.fromkeys(str(p.layer) for p in idle))
    poor = not case.learned
    last = max(o for p in idle for o in p.optimizers)
    share = sum(_numel(p) for p in idle) / sum(_numel(p) for p in case.trainable if last in p.optimizers)
    yield supports(
        STRONG if poor or share > MOST else MODERATE,
        f"{listing(unused)} hold trainable parameters that the optimizer was given ({100 * share:.0f} % of them all), but no "
        "forward pass ever calls them",
        tool="layer_analyzer",
        subject=_outermost(unused[0], calls),
        step=1,
        layers=len(unused),
        parameters=len(idle),
        share=share,
    )
    late = [p for p in idle if _since(case, p.index) > 1 and case.phase_start > 1]
    if late:
        yield supports(
            MODERATE,
            f"they were added after step {case.phase_start - 1}, for the second phase of the training, and it runs without them",
            step=case.phase_start,
        )
    twins = _twins(case, unused)
    if twins:
        yield supports(MODERATE + WEAK, f"another object of the same shapes runs in their place ({listing(twins)})")


def _outermost(layer: str, calls: dict[str, float]) -> str:
    """The largest module around a layer that is never called either."""
    parts = layer.split(".")
    paths = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next((p for p in paths if p in calls and not calls[p] > 0), layer)


def _numel(parameter: ParameterInfo) -> int:
    return math.prod(parameter.shape)


def _since(case: Case, index: int) -> int:
    """First step at which a parameter was there."""
    seen = np.isfinite(case.column("grad_present", index))
    return int(case.param_steps[seen][0]) if seen.any() else 1


def _twins(case: Case, unused: list[str]) -> list[str]:
    shapes = {p.shape for p in case.run.parameters if p.layer in unused and len(p.shape) > 1}
    runs = {x.name for x in case.run.layers if nanmax(case.layer_series(x, "calls")) > 0}
    frozen = [p for p in case.run.parameters if p.layer in runs and not p.requires_grad]
    return [p.name for p in (*(p for p in case.run.parameters if not p.in_model), *frozen) if p.shape in shapes][:3]


CAUSE = Cause(
    id="graph.stale_module",
    title="Trainable layers are never called: another object runs in their place",
    phase="forward",
    repair="Use the registered module in forward (re-attach it after fusing, cloning or replacing).",
    mistaken_for={
        "graph.no_grad_region": "there the layers are called",
        "optimizer.stale_param_reference": "there the optimizer holds tensors outside the model",
    },
    explains=(
        "model.submodule_not_registered",
        "optimizer.frozen_by_mistake",
        "optimizer.lr_too_low",
        "eval.underfit_stopped_early",
    ),
    intervention="call the registered module",
    next_measurement="forward calls per module",
    weigh=weigh,
    source="huggingface/diffusers#11903",
)
