"""One sample's output depends on the other samples of its batch.

Source: Karpathy, A Recipe for Training Neural Networks; dqn-pytorch#1.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """In eval mode, on a copy: another sample was changed and this one's output moved.

    `eval()` does not reach a normalization layer that the model does not know; its batch statistics mix samples by design.
    """
    if any(x.kind == "norm" and x.config.get("registered") is False for x in case.run.layers):
        return
    for fact in case.probes.get("batch_mixing", []):
        if fact.data.get("mixing") is True:
            change = float(fact.data.get("difference") or 0.0)
            yield supports(
                DECISIVE,
                f"in eval mode, changing one sample of the batch changes other samples' outputs (by {change:.2g})",
                tool="layer_analyzer",
                subject=str(fact.data.get("layer") or fact.subject) or None,
                step=1,
                change=change,
            )
            return
        turned = [x for x in case.kinds("attention") if x.config.get("batch_first") is False]
        if fact.data.get("mixing") is False and fact.data.get("own_difference") == 0.0 and turned and not case.learned:
            yield supports(
                STRONG + MODERATE,
                f"a sample's output does not depend on its own input at all, and {turned[0].name} attends along the first axis "
                "(batch_first is off), which is that of the batch",
                tool="layer_analyzer",
                subject=turned[0].name,
                step=1,
            )
            return


CAUSE = Cause(
    id="model.batch_mixing",
    title="Samples of a batch leak into each other: an operation runs over the batch axis",
    phase="forward",
    repair="Correct the axis (dim, permute, reshape, batch_first) of the operation that mixes the batch.",
    weigh=weigh,
    mistaken_for={"eval.mode_not_eval": "there mixing comes from batch statistics in training mode"},
    explains=("eval.underfit_stopped_early", "data.label_misaligned", "model.capacity_bottleneck", "eval.overfit"),
    intervention="feed samples one by one",
    next_measurement="dependence of each output on each sample",
    source="Karpathy, A Recipe for Training Neural Networks",
)
