"""Several linear layers in a row with nothing between them: one linear layer in disguise.

Source: SO 53138899, 46181692; UMLAUT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from aitia.engine.case import Case, nanmax
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports
from aitia.engine.records import LayerInfo

LINEAR = ("Addmm", "Mm", "Bmm", "Baddbmm", "Addbmm", "Convolution", "MkldnnConvolution", "Linear")
"""Nodes of the graph that are layers with weights."""
NEUTRAL = (
    "AccumulateGrad", "TBackward", "Add", "Sub", "View", "UnsafeView", "Transpose", "Permute", "Reshape", "Squeeze",
    "Unsqueeze", "Select", "Slice", "Cat", "Stack", "Mean", "Sum", "Expand", "Clone", "Copy", "ToCopy", "Embedding",
    "AvgPool", "AdaptiveAvgPool", "NativeBatchNorm", "NativeDropout", "Repeat", "Alias", "Split", "Unbind", "AsStrided",
)  # fmt: skip
"""Nodes that leave an affine function affine (batch statistics taken as constants)."""
NEARLY_ALL = 0.99


def weigh(case: Case) -> Iterator[Weight]:
    """The model's output is an affine function of its input, measured on a copy."""
    own = {p.layer for p in case.weights}
    deep = [x for x in case.leaves if x.kind in {"linear", "conv"} or (x.kind == "other" and x.name in own)]
    for fact in case.probes.get("affine", []):
        if fact.data.get("affine") is not True:
            continue
        if any(int((f.data.get("patterns") or {}).get("n_nonlinear") or 0) > 0 for f in case.run.facts("graph")):
            break  # an activation is there; below the last layer it is the units that are dead
        mine = [x for x in deep if not fact.subject or x.root == fact.subject or len(case.run.facts("model_seen")) == 1]
        if len(mine) < 2 or _activated(case, mine):
            continue
        error = fact.data.get("error")
        wide = _wide(mine) and not case.accuracy(grad=True).last > NEARLY_ALL
        yield supports(
            DECISIVE if not _good(case) or wide else STRONG - MODERATE,
            f"the output is an affine function of the input (deviation {float(error or 0):.1e}) although there are "
            f"{len(mine)} linear layers: no nonlinearity stands between them",
            tool="layer_analyzer",
            subject=mine[0].name,
            step=1,
            error=float(error or 0),
            layers=len(mine),
        )
        if _good(case):
            yield against(MODERATE, "the task is learned all the same")
        return
    if not _good(case) and case.nonfinite_step is None:  # numbers that broke say nothing of what a sound model learns
        yield from _linear_below(case, deep)


def _linear_below(case: Case, deep: list[LayerInfo]) -> Iterator[Weight]:
    """Nothing but linear operations below the last layer, whatever stands above it: from the graph of the loss."""
    graphs = [f for f in case.run.facts("graph") if f.data.get("op_counts")]
    calls = {x.name for x in deep if nanmax(case.layer_series(x, "calls")) > 0}
    used = [x for x in deep if x.name in calls]
    if not graphs or len(case.run.facts("model_seen")) != 1 or len(used) < 2 or case.kinds("attention", "rnn"):
        return
    if _activated(case, used):
        return
    weights = {p.name for p in case.weights if p.layer in calls}
    masks = sum(nanmax(case.layer_series(x, "calls")) > 0 for x in case.kinds("dropout"))
    for fact in graphs:
        ops = [str(op) for op in fact.data.get("ops") or []]
        last = next((i for i, op in enumerate(ops) if op.startswith(LINEAR)), None)
        if last is None or fact.data.get("truncated"):
            return
        counts = Counter({str(k): int(v) for k, v in fact.data["op_counts"].items()})
        counts.subtract(Counter(ops[:last]))
        counts["MulBackward0"] -= masks  # what dropout multiplies by
        if not weights <= {str(n) for n in fact.data.get("reached") or []}:
            return  # the graph is cut on the way: what stands behind the cut is not in it
        if any(n > 0 and not op.startswith((*LINEAR, *NEUTRAL)) for op, n in counts.items()):
            return
        if sum(n for op, n in counts.items() if op.startswith(LINEAR)) < 2:
            return
    yield supports(
        DECISIVE,
        f"below the last layer the graph of the loss holds linear operations only, although there are {len(used)} linear "
        "layers: no nonlinearity stands between them",
        tool="layer_analyzer",
        subject=used[0].name,
        step=1,
        layers=len(used),
    )


def _activated(case: Case, layers: list[LayerInfo]) -> bool:
    """Whether an activation layer of the model runs between the first and the last of these layers."""
    names = [x.name for x in case.leaves]
    between = case.leaves[names.index(layers[0].name) : names.index(layers[-1].name)]
    seen = all(nanmax(case.layer_series(x, "calls")) > 0 for x in layers)  # else some ran where calls are not counted
    return any(x.kind == "activation" and (not seen or nanmax(case.layer_series(x, "calls")) > 0) for x in between)


def _wide(layers: list[LayerInfo]) -> bool:
    """No hidden width is below those of input and output: nothing is factorised on purpose."""
    into = [x.config.get("in_features") for x in layers]
    out = [x.config.get("out_features") for x in layers]
    sizes = [n for n in (*into, *out) if isinstance(n, int)]
    if len(sizes) != 2 * len(layers):
        return False
    ends = max(sizes[0], sizes[-1])
    return all(n > ends for n in sizes[len(layers) : -1])


def _good(case: Case) -> bool:
    train = case.accuracy(grad=True)
    if train.n <= 5:
        return case.learned and case.loss.fall > 0.9
    return bool(train.last > 0.95)


CAUSE = Cause(
    id="model.missing_nonlinearity",
    title="No activation stands between the linear layers, so the network is a single linear map",
    phase="forward",
    repair="Put an activation after every hidden layer.",
    weigh=weigh,
    mistaken_for={"model.capacity_bottleneck": "there the output is not affine in the input"},
    explains=("eval.underfit_stopped_early", "model.capacity_bottleneck"),
    intervention="insert a ReLU after every hidden linear layer",
    next_measurement="affinity of the output in the input",
    source="SO 53138899",
)
