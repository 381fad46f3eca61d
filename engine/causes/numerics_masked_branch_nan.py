"""torch.where hides an invalid branch in forward, and its gradient comes back as NaN.

Source: pytorch/pytorch#52248, #23156; pytorch/pytorch#68425.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, against, supports, symptom
from aitia.engine.causes.origin import calm_before, origin


def weigh(case: Case) -> Iterator[Weight]:
    """A finite loss, and a non-finite gradient that arises in the branch that torch.where did not take."""
    first = origin(case)
    if first is None or first.fact.data.get("masked") is not True:
        return
    yield supports(
        DECISIVE,
        f"{first.sentence}: torch.where (or a mask) hides that branch in forward, but its backward multiplies 0 by "
        "infinity",
        tool="gradient_debugger",
        subject=first.module,
        step=first.step,
        where=first.place,
    )
    if calm_before(case, first.step):
        yield symptom(MODERATE, "gradients were calm before", step=first.step)
    if first.where != "backward":
        yield against(STRONG, "the forward value itself is not finite")


CAUSE = Cause(
    id="numerics.masked_branch_nan",
    title="torch.where computes both branches, and the hidden one sends NaN back",
    phase="backward",
    repair="Make the argument safe before the operation (x_safe = where(mask, x, 1)) and then select: the double where.",
    weigh=weigh,
    mistaken_for={"numerics.sqrt_at_zero_backward": "there nothing masks the singular value"},
    explains=(
        "numerics.sqrt_at_zero_backward",
        "numerics.log_zero",
        "numerics.divide_by_zero_scale",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "numerics.exp_overflow",
    ),
    intervention="replace masked arguments by 1",
    next_measurement="arguments in the branch that is not taken",
    source="pytorch/pytorch#68425",
)
