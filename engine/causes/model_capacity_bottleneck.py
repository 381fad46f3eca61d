"""A layer so narrow that what the task needs cannot pass it.

Seen as: a hidden width of one or two between wide layers, or fewer numbers before the last layer than it has to tell apart;
the training data are not fitted, not even a single batch of them. Healthy twins: codes of data that have no more
dimensions, a generator that ends where its judge begins.
Source: DeepCrime LCN; NeuraLint.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Width of the hidden layers against what stands before and after, and whether one batch can be fitted."""
    found = list(_few_for_many(case))
    if found or (case.learned and not _poor(case)):
        yield from found
        return
    widths = []
    for layer in case.leaves:
        wide_in = layer.config.get("in_features") or layer.config.get("in_channels")
        wide_out = layer.config.get("out_features") or layer.config.get("out_channels")
        if isinstance(wide_in, int) and isinstance(wide_out, int):
            trainer = frozenset(o for p in case.run.parameters if p.layer == layer.name for o in p.optimizers)
            widths.append((layer.name, wide_in, wide_out, (layer.root, trainer)))
    classes = case.n_classes or 1
    for (name, wide_in, narrow, root), (_, then, after, other) in pairwise(widths):
        if (
            root == other  # of one network: what a generator hands to its judge is no hidden layer
            and then == narrow
            and narrow <= 2
            and wide_in >= 8
            and (after > narrow or classes > narrow + 1)
        ):
            fit = next((f for f in case.probes.get("fit_one_batch", [])), None)
            yield supports(
                STRONG,
                f"{name} squeezes {wide_in} features into {narrow}",
                tool="layer_analyzer",
                subject=name,
                step=1,
                width=narrow,
                width_before=wide_in,
            )
            if _poor(case):
                accuracy = case.accuracy(grad=True).last
                yield symptom(MODERATE, f"training accuracy stays at {accuracy:.2f}", accuracy=accuracy)
            if fit is not None and _fitted(fit.data) is False:
                yield symptom(
                    MODERATE, f"even one batch cannot be fitted (loss {float(fit.data.get('after') or 0):.3g})"
                )
            elif fit is not None and _fitted(fit.data) is True:
                yield against(MODERATE, "a single batch can be fitted")
            return


def _few_for_many(case: Case) -> Iterator[Weight]:
    """A classifier that has to tell many classes apart from fewer than half as many numbers, and does not manage to."""
    layers = [x for x in case.kinds("linear", "conv") if x.leaf]
    classes = case.n_classes or 0
    if len(layers) < 2 or not isinstance(last := layers[-1].config.get("in_features"), int):
        return
    if layers[-1].config.get("out_features") != classes or not 0 < last < classes / 2:
        return
    accuracy = case.accuracy(grad=True)
    fit = next((f for f in case.probes.get("fit_one_batch", [])), None)
    if fit is None or _fitted(fit.data) is not False or accuracy.last > case.chance + FITS * (1 - case.chance):
        return
    widths = [x.config.get("out_features") or x.config.get("out_channels") or last for x in layers[:-1]]
    narrow = min(widths)
    yield supports(
        STRONG,
        f"{layers[-1].name} has to tell {classes} classes apart from {last} numbers, and no hidden layer before it has more "
        f"than {max(widths)} units or channels; training accuracy stays at {accuracy.last:.2f}",
        tool="layer_analyzer",
        subject=layers[widths.index(narrow)].name,
        step=1,
        width=narrow,
        classes=classes,
        accuracy=accuracy.last,
    )
    yield symptom(
        MODERATE,
        f"even one batch cannot be fitted in thirty steps (loss {float(fit.data.get('after') or fit.data['best']):.3g})",
    )


FITS = 0.8
"""Share of the way from chance to 1 on its own training data: a network with room for the task passes it."""


def _poor(case: Case) -> bool:
    train = case.accuracy(grad=True)
    return bool(train.n > 5 and train.last < case.chance + 0.6 * (1 - case.chance))


def _fitted(data: dict[str, object]) -> bool | None:
    """Whether thirty steps on one batch took most of its loss away."""
    before, best = data.get("loss_before"), data.get("best")
    if not isinstance(before, (int, float)) or not isinstance(best, (int, float)) or before < 0.05:
        return None
    return best < 0.5 * before


CAUSE = Cause(
    id="model.capacity_bottleneck",
    title="A layer is too narrow for the task",
    phase="forward",
    repair="Widen the narrow layer.",
    weigh=weigh,
    mistaken_for={"optimizer.lr_too_low": "there one batch can be fitted"},
    explains=("eval.underfit_stopped_early",),
    intervention="none at run time",
    next_measurement="whether one batch can be fitted",
    source="DeepCrime LCN",
)
