"""A layer so narrow that what the task needs cannot pass it.

Source: DeepCrime LCN; NeuraLint.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from aitia.engine.case import Case
from aitia.engine.causes.base import MODERATE, STRONG, Cause, Weight, against, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Width of the hidden layers against what stands before and after, and whether one batch can be fitted."""
    if case.learned and not _poor(case):
        return
    widths = []
    for layer in case.leaves:
        wide_in = layer.config.get("in_features") or layer.config.get("in_channels")
        wide_out = layer.config.get("out_features") or layer.config.get("out_channels")
        if isinstance(wide_in, int) and isinstance(wide_out, int):
            widths.append((layer.name, wide_in, wide_out, layer.root))
    classes = case.n_classes or 1
    for (name, wide_in, narrow, root), (_, then, after, other) in pairwise(widths):
        if (
            root == other
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
            if fit is not None and _fitted(fit.data) is False:
                yield symptom(
                    MODERATE, f"even one batch cannot be fitted (loss {float(fit.data.get('after') or 0):.3g})"
                )
            elif fit is not None and _fitted(fit.data) is True:
                yield against(MODERATE, "a single batch can be fitted")
            return


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
