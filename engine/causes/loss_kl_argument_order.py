"""A divergence with its arguments swapped: the model's output stands where the target belongs.

Source: labmlai/annotated_deep_learning_paper_implementations#66; microsoft/ProDA#20.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports
from aitia.engine.records import Fact

NOTHING = 1e-6
"""A divergence below this is rounding: both arguments are the same distribution."""
MIN_CALLS = 5
"""A student that begins as a copy of its teacher differs from it after a few steps."""


def weigh(case: Case) -> Iterator[Weight]:
    """Which argument of kl_div carries the gradient, and which looks like a logarithm."""
    for fact in case.train_loss_calls:
        if fact.data.get("function") != "kl_div":
            continue
        if fact.data.get("target_requires_grad") and not fact.data.get("input_requires_grad"):
            yield supports(
                DECISIVE,
                "in kl_div the second argument (the target) carries the gradient and the first does not: the "
                "arguments are swapped",
                step=1,
                where=case.place(fact),
            )
        elif (
            fact.data.get("input_requires_grad")
            and fact.data.get("target_requires_grad")
            and fact.data.get("input_is_prob")
        ):
            yield supports(
                STRONG,
                "kl_div's first argument holds probabilities, where log-probabilities belong",
                step=1,
                where=case.place(fact),
            )
        elif fact.data.get("input_is_prob") and _logarithms(case, fact):
            yield supports(
                DECISIVE,
                "kl_div's first argument holds probabilities and its second one logarithms: each stands where the other belongs",
                step=1,
                where=case.place(fact),
            )
        elif fact.data.get("input_is_logprob"):
            values = case.calls(grad=True, site=case.site_of(fact))["value"]
            values = values[np.isfinite(values)]
            if len(values) >= MIN_CALLS and float(np.abs(values).max()) < NOTHING:
                yield supports(
                    DECISIVE,
                    f"kl_div was 0 (at most {np.abs(values).max():.1e}) in all of its {len(values)} calls: both arguments are "
                    "the same distribution, so the model is compared with itself",
                    step=1,
                    where=case.place(fact),
                    largest=float(np.abs(values).max()),
                    calls=len(values),
                )


def _logarithms(case: Case, fact: Fact) -> bool:
    """Whether the targets of this call can be logarithms of probabilities: none above 0, and some below -1."""
    rows = case.calls(grad=True, site=case.site_of(fact))
    highest, lowest = rows["target_max"], rows["target_min"]
    seen = np.isfinite(highest) & np.isfinite(lowest)
    return bool(seen.any()) and float(highest[seen].max()) <= 0.0 and float(lowest[seen].min()) < -1.0


CAUSE = Cause(
    id="loss.kl_argument_order",
    title="kl_div is called with its arguments in the wrong order",
    phase="loss",
    repair="Call kl_div(log_q, p): log-probabilities of the model first, the target distribution second.",
    weigh=weigh,
    mistaken_for={"loss.missing_log": "there the first argument is the model's output, without its logarithm"},
    explains=("loss.missing_log",),
    intervention="swap the arguments",
    next_measurement="which argument carries a gradient",
    source="microsoft/ProDA#20",
)
