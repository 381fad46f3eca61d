"""Several linear layers in a row with nothing between them: one linear layer in disguise.

Source: SO 53138899, 46181692; UMLAUT.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports


def weigh(case: Case) -> Iterator[Weight]:
    """The model's output is an affine function of its input, measured on a copy."""
    deep = [x for x in case.leaves if x.kind in {"linear", "conv"}]
    for fact in case.probes.get("affine", []):
        if fact.data.get("affine") is not True:
            continue
        if any(int((f.data.get("patterns") or {}).get("n_nonlinear") or 0) > 0 for f in case.run.facts("graph")):
            return  # an activation is there; it is the units that are dead
        mine = [x for x in deep if not fact.subject or x.root == fact.subject or len(case.run.facts("model_seen")) == 1]
        if len(mine) < 2:
            continue
        error = fact.data.get("error")
        yield supports(
            DECISIVE if not _good(case) else STRONG - MODERATE,
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
