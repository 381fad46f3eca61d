"""Missing values in the data: the first non-finite number is in a batch.

Source: SO 53640858.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, STRONG, Cause, Weight, supports


def weigh(case: Case) -> Iterator[Weight]:
    """Non-finite entries in the input or target no later than anywhere else."""
    rows = case.run.table("batch")
    bad = rows["in_nonfinite"] > 0
    calls = case.run.table("loss")
    bad_target = calls["target_nonfinite"] > 0
    fact = case.run.fact("nonfinite")
    if bad.any():
        step = int(rows["step"][bad][0])
        before = case.nonfinite_step
        if before is None or step <= before:
            n = int(rows["in_nonfinite"][bad][0])
            row = fact.data.get("row") if fact is not None else None
            yield supports(
                DECISIVE,
                f"the batch of step {step} holds {n} non-finite values"
                + (f" (first in row {row})" if row is not None else "")
                + "; everything before was finite",
                tool="layer_analyzer",
                step=step,
                where=case.place(fact),
                nonfinite=n,
            )
            clean = int((~bad).sum())
            if clean:
                yield supports(STRONG, f"the other {clean} recorded batches are finite", clean=clean)
    elif bad_target.any():
        step = int(calls["step"][bad_target][0])
        if case.nonfinite_step is None or step <= case.nonfinite_step:
            yield supports(
                DECISIVE,
                f"the targets of step {step} hold {int(calls['target_nonfinite'][bad_target][0])} non-finite values",
                tool="layer_analyzer",
                step=step,
                where=case.site_place(),
                nonfinite=int(calls["target_nonfinite"][bad_target][0]),
            )
    elif fact is not None and fact.data.get("kind") in {"input", "target"}:
        yield supports(
            DECISIVE,
            f"the first non-finite value of the run is in the {fact.data['kind']} of step {fact.step}",
            tool="layer_analyzer",
            step=fact.step,
            where=case.place(fact),
        )


CAUSE = Cause(
    id="data.nan_or_inf_input",
    title="The data hold NaN or Inf",
    phase="data",
    repair="Drop or impute missing values before training, and assert torch.isfinite on every batch.",
    weigh=weigh,
    mistaken_for={
        "numerics.log_zero": "there every input is finite",
        "optimizer.lr_too_high": "there values grow before they overflow",
    },
    explains=(
        "numerics.log_zero",
        "numerics.exp_overflow",
        "numerics.divide_by_zero_scale",
        "numerics.sqrt_at_zero_backward",
        "numerics.masked_branch_nan",
        "numerics.exploding_gradient",
        "optimizer.lr_too_high",
        "optimizer.eps_underflow",
        "init.uninitialized_memory",
    ),
    intervention="replace the non-finite batch",
    interventions=("replace_nonfinite_inputs",),
    next_measurement="count of non-finite values per column",
    source="SO 53640858",
)
