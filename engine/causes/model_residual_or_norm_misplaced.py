"""A deep stack without the parts that make depth trainable: no way around its blocks, or norms that do not normalise.

Both are read off the layers' statistics. A block that adds its input gives out something else than its last layer did;
one whose output has exactly the spread of its last layer's output added nothing. A normalising layer gives out its own
scale whatever comes in; one that gives out far less at an ordinary input has an epsilon that outweighs the variance, or
an axis along which nothing varies.
Source: He et al. 2016 (degradation without shortcuts); DEFault++ (residual and LayerNorm operators).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom
from aitia.engine.records import LayerInfo, ParameterInfo

N = TypeVar("N", LayerInfo, ParameterInfo)

DEPTH = 6
"""Blocks of two or more weights each: with fewer, plain networks train as well as residual ones (He et al. 2016)."""
SAME = 1e-4
"""Two statistics of one tensor agree to rounding; those of a sum and of one of its terms never do."""
FADED = 1e-2
"""First block's gradient against the last one's; around 1 where there is a way around the blocks."""
ORDINARY = 0.05
"""Spread between samples at which the usual epsilon of 1e-5 takes 0.2 % away."""
HALF = 0.5
"""A norm that gives out less than this share of its own scale at an ordinary input lets most of it vanish."""
REMEMBERING = ("BatchNorm", "InstanceNorm")
"""Norms that divide by what they saw before when in evaluation mode."""
SQUASHING = frozenset({"Sigmoid", "Tanh", "Hardsigmoid", "Hardtanh", "Softsign"})
WEIGHTED = frozenset({"linear", "conv", "attention", "rnn"})


def weigh(case: Case) -> Iterator[Weight]:
    """Spread of what blocks and their last layers give out; spread before and after normalising layers."""
    if case.learned or not len(case.layer_stat("out_std")):
        return
    found = [*_unskipped(case), *_not_normalising(case)]
    yield from found
    if found and case.flat:
        yield symptom(
            MODERATE, f"the loss does not fall ({case.loss.first:.3g} to {case.loss.last:.3g})", loss=case.loss.last
        )


def _unskipped(case: Case) -> Iterator[Weight]:
    """The longest row of equal blocks, none of which adds anything to its last layer's output."""
    weights, layers = _below(case.weights), _below(case.run.layers)
    blocks = max(_rows(case, weights), key=len, default=[])
    if len(blocks) < DEPTH or any(x.cls in SQUASHING for b in blocks for x in layers[b.name]):
        return
    if not all(_plain(case, b, layers[b.name]) for b in blocks):
        return
    sizes = [_gradient(case, weights[b.name]) for b in blocks]
    ratio = sizes[0] / sizes[-1] if sizes[-1] > 0 else math.nan
    faded = ratio < FADED
    yield supports(
        STRONG + (MODERATE if faded else 0.0),
        f"all {len(blocks)} blocks from {blocks[0].name} to {blocks[-1].name} ({blocks[0].cls}) give out exactly what their last "
        "layer does: nothing leads around them, so every gradient has to pass every layer"
        + (f", and {ratio:.1e} of it per weight arrives at the first" if faded else ""),
        tool="layer_analyzer",
        subject=blocks[0].name,
        step=1,
        blocks=len(blocks),
        ratio=ratio,
    )


def _below(named: Iterable[N]) -> dict[str, list[N]]:
    """Layers or parameters under the name of every module that holds them, however deep."""
    found: defaultdict[str, list[N]] = defaultdict(list)
    for one in named:
        parts = one.name.split(".")
        for depth in range(1, len(parts)):
            found[".".join(parts[:depth])].append(one)
    return found


def _rows(case: Case, weights: dict[str, list[ParameterInfo]]) -> list[list[LayerInfo]]:
    """Modules of one class and with equal weights, at least two each, in the order in which data passes them."""
    rows: defaultdict[tuple[object, ...], list[LayerInfo]] = defaultdict(list)
    for layer in case.run.layers:
        if layer.leaf or not np.isfinite(_first(case, "out_std", layer)):
            continue
        shapes = tuple((p.name[len(layer.name) :], p.shape) for p in weights.get(layer.name, ()))
        if len(shapes) > 1:
            rows[(layer.root, layer.cls, layer.name.count("."), shapes)].append(layer)
    return list(rows.values())


def _plain(case: Case, block: LayerInfo, inside: list[LayerInfo]) -> bool:
    """Whether what a block gives out came straight from a layer with weights, through norms and activations at most."""
    spread, seen = _first(case, "out_std", block), set[str]()
    while math.isfinite(spread):
        makers = [x for x in inside if x.name not in seen and _equal(_first(case, "out_std", x), spread)]
        if any(x.kind in WEIGHTED for x in makers):
            return True
        maker = next((x for x in makers if x.leaf), None)
        if maker is None:
            return False
        seen.add(maker.name)
        spread = _first(case, "in_std", maker)
    return False


def _not_normalising(case: Case) -> Iterator[Weight]:
    """The first norm that gives out much less than its scale although samples differ before it as usual."""
    rows = case.run.table("batch")
    remembers = bool((rows["training"][(rows["grad"] == 1) & (rows["step"] <= 1)] == 0).any())
    scales = {p.layer: p for p in case.run.parameters if p.name.endswith("weight") and len(p.shape) == 1}
    for before, norm in pairwise(case.leaves):
        if norm.kind != "norm" or (remembers and any(word in norm.cls for word in REMEMBERING)):
            continue
        came, went = _first(case, "in_std", norm), _first(case, "out_std", norm)
        differ = _first(case, "out_sample_std", before)
        scale = 1.0
        if norm.name in scales:
            norms = case.column("weight_norm", scales[norm.name].index)
            norms = norms[np.isfinite(norms)]
            scale = float(norms[0]) / math.sqrt(scales[norm.name].shape[0]) if len(norms) else math.nan
        if not (_equal(_first(case, "out_std", before), came) and differ > ORDINARY and scale > ORDINARY):
            continue
        if went < HALF * scale * min(1.0, differ / ORDINARY):
            yield supports(
                DECISIVE,
                f"{norm.name} ({norm.cls}, eps {norm.config.get('eps', '?')}) gives out a spread of {went:.2g} where its scale is "
                f"{scale:.2g} and its input has {came:.2g}: it does not normalise, it takes away what tells samples apart",
                tool="layer_analyzer",
                subject=norm.name,
                step=1,
                in_std=came,
                out_std=went,
                scale=scale,
            )
            return


def _gradient(case: Case, weights: list[ParameterInfo]) -> float:
    """Median over a block's matrices of the gradient per root of the number of weights."""
    return nanmedian([case.median("grad_norm", p) / math.sqrt(math.prod(p.shape)) for p in weights])


def _first(case: Case, stat: str, layer: LayerInfo) -> float:
    """A statistic of a layer at the first step; NaN where it was not measured."""
    table = case.layer_stat(stat)
    return float(table[0, layer.index]) if layer.index < table.shape[1] else math.nan


def _equal(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b))


CAUSE = Cause(
    id="model.residual_or_norm_misplaced",
    title="A deep network without working shortcuts or norms: what depth needs to be trained is missing",
    phase="setup",
    repair="Add each block's input to its output, or give the norm its usual epsilon and axis.",
    weigh=weigh,
    mistaken_for={
        "numerics.vanishing_gradient": "there the activations saturate, or single layers follow each other without blocks",
        "init.wrong_scale": "there a norm would put the scale right",
        "optimizer.lr_too_low": "then a shallower network learns no better",
        "model.dead_units": "then features are 0 for every sample",
    },
    explains=(
        "numerics.vanishing_gradient",
        "numerics.exploding_gradient",
        "init.wrong_scale",
        "model.dead_units",
        "optimizer.lr_too_low",
        "eval.underfit_stopped_early",
        "model.capacity_bottleneck",
    ),
    intervention="add every block's input to its output",
    next_measurement="the loss of the same network with every block's input added to its output",
    source="He et al., Deep Residual Learning (2016); DEFault++",
)
