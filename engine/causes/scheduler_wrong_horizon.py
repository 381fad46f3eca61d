"""A schedule whose length does not fit the run: it never moves, ends early, or climbs again.

Source: svc-develop-team/so-vits-svc-fork PR 291; A4Bio/PiFold#6.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, Cause, Weight, supports
from aitia.engine.records import SourceLocation

PERIODIC = ("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
"""Schedules that are meant to rise again."""


def weigh(case: Case) -> Iterator[Weight]:
    """Declared horizon against the number of scheduler steps that were taken."""
    for built in case.run.facts("scheduler_built"):
        name = str(built.data.get("cls", ""))
        config = built.data.get("config", {}) or {}
        index = built.data.get("index", 0)
        rate = next((f for f in case.run.facts("scheduler_rate") if f.data.get("index", 0) == index), None)
        taken = int(rate.data.get("n_steps", 0)) if rate else 0
        where = case.place(rate) or case.place(built)
        if name in {"ReduceLROnPlateau", "ConstantLR"} or case.n_steps < 20:
            continue
        if rate is not None and taken == 0:
            yield supports(
                STRONG,
                f"{name} was built and never stepped: the rate stayed at its start",
                tool="gradient_debugger",
                step=1,
                where=where,
                scheduler_steps=0,
            )
            continue
        horizon = config.get("T_max") or config.get("total_iters") or config.get("total_steps")
        if not isinstance(horizon, (int, float)) or taken < 5 or horizon <= 0:
            continue
        bases = [float(b) for b in config.get("base_lrs") or [] if isinstance(b, (int, float))]
        yield from _against_horizon(case, name, float(horizon), taken, max(bases, default=0.0), where)


def _against_horizon(  # noqa: PLR0917 - one schedule, described
    case: Case, name: str, horizon: float, taken: int, base: float, place: SourceLocation | None
) -> Iterator[Weight]:
    _, lr = case.run.scalar("lr")
    lr = lr[np.isfinite(lr)]
    if len(lr) < 10:
        return
    if name == "CosineAnnealingLR" and taken > 1.25 * horizon:
        low = int(np.argmin(lr))
        climbed = float(lr[low:].max() / lr.max())
        if climbed > 0.2 and low < 0.9 * len(lr):
            yield supports(
                DECISIVE,
                f"{name} has T_max = {horizon:.0f} but took {taken} steps: the rate reached its minimum at "
                f"step {low + 1} and climbed back to {100 * climbed:.0f} % of its peak",
                tool="gradient_debugger",
                step=low + 1,
                where=place,
                horizon=horizon,
                scheduler_steps=taken,
                climbed=climbed,
            )
    elif name in {"CosineAnnealingLR", "LinearLR", "PolynomialLR", "OneCycleLR"} and taken < 0.2 * horizon:
        reached = float(lr.max() / base) if base > 0 else 1.0
        change = float(abs(lr[-1] - lr[0]) / max(lr.max(), 1e-30))
        rising = reached < 0.5
        yield supports(
            DECISIVE if rising and not case.learned else STRONG + 1.0 if rising or change < 0.1 else MODERATE,
            f"{name} is laid out for {horizon:.0f} steps but took only {taken}: the rate went from {lr[0]:.3g} to "
            f"{lr[-1]:.3g}"
            + (f" and never reached more than {100 * reached:.0f} % of its base {base:.3g}" if rising else ""),
            tool="gradient_debugger",
            step=1,
            where=place,
            horizon=horizon,
            scheduler_steps=taken,
            change=change,
            reached=reached,
        )


CAUSE = Cause(
    id="scheduler.wrong_horizon",
    title="The schedule's horizon does not fit the number of steps it is given",
    phase="scheduler",
    repair="Give the schedule the number of scheduler.step() calls that the run makes (epochs, or epochs x batches), and call it.",
    weigh=weigh,
    mistaken_for={"scheduler.stepped_per_batch": "there the rate vanishes because the unit is the batch"},
    explains=("eval.underfit_stopped_early", "optimizer.lr_too_low"),
    intervention="constant rate",
    interventions=("constant_rate",),
    next_measurement="scheduler steps against its horizon",
    source="svc-develop-team/so-vits-svc-fork PR 291",
)
