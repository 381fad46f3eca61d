"""The loss is maximised: what goes into backward is minus the loss.

Healthy twins: policy gradients, adversarial terms, negative likelihoods – none of them negates a supervised loss.
Source: TheDeepChecker flipped-sign.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports, symptom


def weigh(case: Case) -> Iterator[Weight]:
    """Root of backward against the value that the loss function returned, and where both are going."""
    back, calls = case.run.table("backward"), case.calls(grad=True)
    n = min(len(back["loss"]), len(calls["value"]))
    if n < 5 or len(case.run.optimizers) > 1:
        return
    root, value = back["loss"][:n], calls["value"][:n]
    with np.errstate(all="ignore"):
        ratio = nanmedian(root / value)
    opposite = float(np.nanmean(np.sign(root) * np.sign(value) < 0))
    tenth = max(2, n // 10)
    rises = nanmedian(value[-tenth:]) > nanmedian(value[:tenth])
    if opposite > 0.8 and abs(abs(ratio) - 1) < 0.2 and nanmedian(value) > 0:
        yield supports(
            DECISIVE if rises else STRONG,
            f"what goes into backward is {ratio:.2g} times the value of the loss function, and the loss rises from "
            f"{nanmedian(value[:tenth]):.3g} to {nanmedian(value[-tenth:]):.3g}: it is being maximised",
            tool="gradient_debugger",
            step=1,
            where=case.site_place(),
            ratio=ratio,
            first=nanmedian(value[:tenth]),
            last=nanmedian(value[-tenth:]),
        )
        train = case.accuracy(grad=True)
        if train.n > 5 and train.last < case.chance - 0.02:
            yield symptom(
                MODERATE,
                f"accuracy sinks below chance ({train.last:.2f} against {case.chance:.2f})",
                accuracy=train.last,
            )


CAUSE = Cause(
    id="loss.sign_flipped",
    title="The sign of the loss is flipped: training maximises it",
    phase="loss",
    repair="Remove the minus sign in front of the loss.",
    weigh=weigh,
    mistaken_for={
        "optimizer.lr_too_high": "there the first steps still lower the loss",
        "loss.missing_log": "there the value itself is negative",
    },
    explains=("optimizer.lr_too_high", "numerics.exploding_gradient", "eval.underfit_stopped_early"),
    intervention="negate the loss",
    next_measurement="root of backward against the value of the loss function",
    source="TheDeepChecker",
)
