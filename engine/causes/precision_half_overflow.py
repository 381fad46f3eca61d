"""A value beyond 65504 in float16: the operation would be finite in float32 or bfloat16.

Source: Micikevicius et al., Mixed Precision Training (ICLR 2018); PyTorch automatic mixed precision examples.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, against, supports
from aitia.engine.causes.origin import calm_before, origin

LARGEST_HALF = 65504.0
"""Largest finite float16."""
_OWN_POLES = ("log", "div", "reciprocal", "sqrt", "pow", "softmax", "acos", "asin")
"""Operations that are infinite somewhere in every precision."""


def weigh(case: Case) -> Iterator[Weight]:
    """The first non-finite value is the float16 result of an operation without poles on finite operands."""
    first = origin(case)
    if first is None or first.kind not in {"activation", "loss"} or first.fact.data.get("inputs_finite") is False:
        return
    result = first.fact.data.get("result") or (first.fact.data.get("values") or [{}])[0]
    if result.get("dtype") != "float16" or any(name in first.op for name in _OWN_POLES):
        return
    largest = max((float(v.get("max") or 0.0) for v in first.fact.data.get("values") or ()), default=0.0)
    yield supports(
        DECISIVE,
        f"{first.sentence}: its finite operands (up to {largest:.4g}) make more than float16 can hold ({LARGEST_HALF:.0f})",
        tool="layer_analyzer",
        subject=first.module,
        step=first.step,
        where=first.place,
        operand_max=largest,
        largest_half=LARGEST_HALF,
    )
    if not calm_before(case, first.step):
        yield against(MODERATE, "gradients grew before it: the overflow may be a consequence")


CAUSE = Cause(
    id="precision.half_overflow",
    title="A value is too large for float16",
    phase="forward",
    repair="Compute that operation in float32 (autocast(enabled=False) around it, .float()) or use bfloat16.",
    weigh=weigh,
    mistaken_for={
        "numerics.exp_overflow": "there the operation is an exponential and float32 overflows, too",
        "optimizer.lr_too_high": "there gradients and weights grow over the steps before",
        "data.unscaled_input": "there the input is large in every batch; here one value crosses the limit of float16",
    },
    explains=("numerics.exploding_gradient", "optimizer.lr_too_high", "precision.autocast_not_applied"),
    intervention="run the operation in bfloat16",
    next_measurement="largest activation of every layer against 65504",
    source="Micikevicius et al., Mixed Precision Training (ICLR 2018)",
)
