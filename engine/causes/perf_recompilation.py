"""torch.compile compiles the same code again and again, since something it took for constant changes.

Healthy twin: the few compilations for training and evaluation, and the one that makes a dimension dynamic.
Source: PyTorch documentation, "Dealing with recompilations".
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, Cause, Weight, supports, symptom

OFTEN = 4
"""Recompilations for each piece of code: one for evaluation, one for a dynamic shape, and one more are usual."""


def weigh(case: Case) -> Iterator[Weight]:
    """The compiler's own count of recompilations, or that it gave up at its limit."""
    fact = case.run.fact("compilations")
    if fact is None:
        return
    again, frames = int(fact.data.get("again") or 0), max(1, int(fact.data.get("n_frames") or 1))
    limit = bool(fact.data.get("limit"))
    if again < OFTEN * frames and not limit:
        return
    kinds = {"size mismatch": "the size of an input", "___check_type": "a type", "==": "a number"}
    reasons = " ".join(str(r) for r in fact.data.get("reasons") or ())
    changed = next((words for sign, words in kinds.items() if sign in reasons), "something it took for constant")
    seconds = float(fact.data.get("seconds") or 0.0)
    yield supports(
        DECISIVE,
        f"torch.compile compiled again {again} times ({seconds:.3g} s in all), for {changed} changed"
        + ("; then it gave up at its limit and runs uncompiled" if limit else ""),
        tool="performance_profiler",
        step=1,
        again=again,
        seconds=seconds,
        limit=limit,
    )
    _, step_s = case.run.scalar("step_s")
    if len(step_s) and seconds > 0.2 * float(step_s.sum()):
        yield symptom(
            MODERATE, f"compiling takes {seconds / float(step_s.sum()):.0%} of the time of all steps", seconds=seconds
        )


CAUSE = Cause(
    id="perf.recompilation",
    title="torch.compile compiles the same code again and again",
    phase="forward",
    repair="Give inputs one size (drop_last, padding to a few sizes) or mark the dimension dynamic (mark_dynamic, dynamic=True).",
    weigh=weigh,
    mistaken_for={"perf.rebuilt_every_step": "there the program itself builds something at every step"},
    intervention="dynamic=True",
    next_measurement="TORCH_LOGS=recompiles",
    source="PyTorch documentation of torch.compile",
)
