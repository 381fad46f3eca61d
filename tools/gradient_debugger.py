"""GradientDebugger: what gradient every parameter got, whether the optimizer used it, and how it flows with depth."""

from __future__ import annotations

import math
from collections import Counter
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from aitia.engine.records import ParameterInfo, Record
from aitia.engine.store.reader import Run
from aitia.tools.flow import DepthFlow, flow_of, loop_facts
from aitia.tools.result import Action, Ledger, ToolResult, number_of, text_of
from aitia.tools.series import TINY, column_first, column_max, column_medians, ends, first_step, select
from aitia.tools.trust import safe_name

UPDATE_HIGH: Final = 1e-1
"""Update-to-weight ratio above which a step rewrites the weights; about 1e-3 is usual (Karpathy, CS231n notes)."""
UPDATE_LOW: Final = 1e-6
"""Below it 10,000 steps move a weight by one per cent."""
GROWTH: Final = 1e3
"""Growth of a gradient norm over its early median that no healthy schedule shows."""
VANISHING: Final = 1e-5
"""Gradient RMS relative to the strongest parameter of the model."""

MEANING: Final[dict[str, str]] = {
    "non_finite": "its gradient or weight holds NaN or Inf",
    "not_in_optimizer": "it gets a gradient, but no optimizer holds it, so it never moves",
    "not_in_model": "an optimizer holds it, but no watched model contains it",
    "cleared": "backward reaches it, but its gradient is gone when the optimizer steps",
    "absent": "it is trainable, but backward never reached it",
    "stuck": "it gets a gradient and is held by an optimizer, but no step changed it",
    "zero": "its gradient is exactly zero",
    "exploding": "its gradient grew over 1000-fold",
    "update_too_large": "each step changes it by more than a tenth of its norm",
    "vanishing": "its gradient is over 100,000 times weaker than the strongest of the model",
    "update_too_small": "each step changes it by less than a millionth of its norm",
    "frozen": "it is not trainable (requires_grad is False)",
    "not_measured": "nothing was measured for it",
    "healthy": "nothing unusual",
}
"""States of health, worst first."""
QUIET: Final = frozenset({"frozen", "healthy", "not_measured"})


class ParameterHealth(Record):
    """One parameter; values are medians over the last measured steps."""

    parameter: str
    shape: tuple[int, ...] = ()
    health: str
    since_step: int | None = None
    evidence: str | None = None
    grad_norm: float | None = None
    grad_norm_first: float | None = None
    weight_norm: float | None = None
    update_ratio: float | None = None
    """Norm of the step over the norm of the weight."""
    grad_present_share: float | None = None
    zero_share: float | None = None
    nonfinite: int = 0
    in_optimizer: bool = True


class GradientReport(ToolResult):
    """Parameters, worst first, with the flow over depth and the bookkeeping of the loop."""

    shrinkable: ClassVar[tuple[str, ...]] = ("parameters", "evidence")
    counts: dict[str, int] = Field(default_factory=dict)
    parameters: tuple[ParameterHealth, ...] = ()
    flow: DepthFlow | None = None
    global_grad_norm: float | None = None
    global_grad_norm_first: float | None = None
    update_ratio: float | None = None
    carried_share: float | None = None
    """Share of steps whose first backward still found gradients of an earlier step."""
    clipped_share: float | None = None
    """Share of steps in which clipping really shortened the gradient."""
    zero_grad_per_step: float | None = None
    learning_rate: float | None = None


class GradientDebugger:
    """Looks at the gradients and updates of a run's parameters."""

    def __init__(self, run: Run) -> None:
        self._run = run
        wide = run.wide("param")
        self._steps, self._values = wide.steps, wide.values
        self._width = self._values["grad_norm"].shape[1] if len(self._steps) else 0
        known = self._values if self._width else {}
        self._first, self._now = {}, {}
        for stat, matrix in known.items():  # one at a time: all matrices of a large run do not fit into memory
            self._first[stat] = column_first(matrix)
            self._now[stat] = column_medians(ends(matrix)[1])
        self._reached = {n for f in run.facts("graph") for n in f.data.get("reached", ())}
        sizes = [max(1, math.prod(p.shape)) for p in run.parameters]
        self._rms = {
            p.index: float(self._now["grad_norm"][p.index]) / math.sqrt(size)
            for p, size in zip(run.parameters, sizes, strict=True)
            if p.index < self._width and p.in_model
        }

    def analyze(self, parameter: str | None = None, limit: int = 8) -> GradientReport:
        """Health of all parameters, or of those at or below the dotted path `parameter`; worst first.

        Raises:
            KeyError: `parameter` fits none; the message names some that exist.
        """
        order = list(MEANING)
        chosen = select(self._run.parameters, parameter, "parameter")
        rows = sorted((self._row(info) for info in chosen), key=lambda r: (order.index(r.health), r.since_step or 0))
        ledger, shown = Ledger("gradient_debugger"), []
        for row in rows[:limit]:
            told = row.health not in QUIET or parameter is not None
            shown.append(row.model_copy(update={"evidence": _cite(ledger, row)}) if told else row)
        flow = flow_of(self._run, self._rms, ledger)
        loop = loop_facts(self._run, ledger)
        left = len(rows) - len(shown)
        return GradientReport(
            run=self._run.id,
            summary=_summary(rows, len(self._steps), loop.warnings),
            evidence=ledger.all(),
            suggested_actions=_actions(self._run.id, rows, bool(loop.warnings)),
            omitted=f"{left} of {len(rows)} parameters, none worse than those shown; raise limit or name one"
            if left
            else None,
            counts=dict(Counter(r.health for r in rows)),
            parameters=tuple(shown),
            flow=flow,
            **loop.numbers,
        )

    def _row(self, info: ParameterInfo) -> ParameterHealth:
        index, known = info.index, info.index < self._width
        health, since = self._health(info) if known else (_unmeasured(info), None)

        def now(stat: str) -> float | None:
            return number_of(self._now[stat][index]) if known else None

        broken = 0.0
        if known:
            broken = sum(float(np.nansum(self._values[s][:, index])) for s in ("grad_nonfinite", "weight_nonfinite"))
        moved, weight = now("update_norm"), now("weight_norm")
        present = self._values["grad_present"][:, index] if known else np.empty(0)
        return ParameterHealth(
            parameter=safe_name(info.name, index, "parameter"),
            shape=info.shape,
            health=health,
            since_step=since,
            grad_norm=now("grad_norm"),
            grad_norm_first=number_of(self._first["grad_norm"][index]) if known else None,
            weight_norm=weight,
            update_ratio=number_of(moved / max(weight, TINY)) if moved is not None and weight is not None else None,
            grad_present_share=number_of(float(np.nanmean(present))) if np.isfinite(present).any() else None,
            zero_share=now("grad_zero_share"),
            nonfinite=int(broken),
            in_optimizer=bool(info.optimizers),
        )

    def _health(self, info: ParameterInfo) -> tuple[str, int | None]:  # noqa: PLR0911 - an ordered list of rules
        """The worst state that holds, and the step from which on it was seen."""
        index, rows = info.index, self._values
        bad = np.nan_to_num(rows["grad_nonfinite"][:, index]) + np.nan_to_num(rows["weight_nonfinite"][:, index]) > 0
        if bad.any():
            return "non_finite", first_step(self._steps, bad)
        start = int(self._steps[0])
        if not info.in_model:
            return "not_in_model", start
        if not info.requires_grad:
            return "frozen", None
        reached = bool(np.nansum(rows["grad_present"][:, index]) > 0)
        if not reached:
            if not np.isfinite(rows["grad_present"][:, index]).any():
                return "not_measured", None
            return ("cleared" if info.name in self._reached else "absent"), start
        if not info.optimizers and info.tied_to is None and self._run.n_steps:
            return "not_in_optimizer", start
        return self._magnitude(index)

    def _magnitude(self, index: int) -> tuple[str, int | None]:  # noqa: PLR0911 - an ordered list of rules
        rows, start = self._values, int(self._steps[0])
        norms = rows["grad_norm"][:, index]
        if column_max(norms[:, None])[0] == 0:
            return "zero", start
        updates = rows["update_norm"][:, index]
        if np.isfinite(updates).any() and np.nanmax(updates) == 0:
            return "stuck", start
        early = float(self._first["grad_norm"][index])
        grown = norms > GROWTH * max(early, TINY)
        if early > 0 and grown.any():
            return "exploding", first_step(self._steps, grown)
        ratio = updates / np.maximum(rows["weight_norm"][:, index], TINY)
        recent = float(column_medians(ends(ratio[:, None])[1])[0])
        # A bias begins at zero, so its ratio says nothing: only tensors with at least two dimensions are judged by it.
        matrix = len(self._run.parameters[index].shape) > 1
        if matrix and recent > UPDATE_HIGH:
            return "update_too_large", first_step(self._steps, ratio > UPDATE_HIGH)
        strongest = max((r for r in self._rms.values() if math.isfinite(r)), default=0.0)
        if self._rms.get(index, math.inf) < VANISHING * strongest:
            return "vanishing", start
        if matrix and recent < UPDATE_LOW:
            return "update_too_small", first_step(self._steps, ratio < UPDATE_LOW)
        return "healthy", None


def debug_gradients(run: Run, parameter: str | None = None, limit: int = 8) -> GradientReport:
    """`GradientDebugger(run).analyze(parameter, limit)` in one call."""
    return GradientDebugger(run).analyze(parameter, limit)


def _unmeasured(info: ParameterInfo) -> str:
    return "frozen" if not info.requires_grad else ("not_measured" if info.in_model else "not_in_model")


def _cite(ledger: Ledger, row: ParameterHealth) -> str:
    since = f" since step {row.since_step}" if row.since_step is not None else ""
    if row.grad_present_share == 0:
        numbers = "no gradient was ever there at a step"
    else:
        numbers = (
            f"gradient norm {text_of(row.grad_norm)} (first {text_of(row.grad_norm_first)}), "
            f"update ratio {text_of(row.update_ratio)}"
        )
    return ledger.add(
        f"{row.parameter} is {row.health}{since}: {MEANING[row.health]}; {numbers}.",
        parameter=row.parameter,
        health=row.health,
        grad_norm=row.grad_norm,
        grad_norm_first=row.grad_norm_first,
        update_ratio=row.update_ratio,
        in_optimizer=row.in_optimizer,
    )


def _summary(rows: list[ParameterHealth], measured: int, loop: list[str]) -> str:
    if not rows:
        return "No parameter was recorded; the model has none, or was not seen by the recorder."
    if not measured:
        return (
            f"{len(rows)} parameters are known but no gradient was measured: the program ended before its first step."
        )
    sick = [r for r in rows if r.health not in QUIET]
    head = f"Gradients and updates of all {len(rows)} parameters look healthy."
    if loop:
        head = f"None of the {len(rows)} parameters stands out from the others."
    if sick:
        worst = sick[0]
        same = [r.parameter for r in sick if r.health == worst.health]
        names = ", ".join(same[:3]) + (f" and {len(same) - 3} more" if len(same) > 3 else "")
        worst_is = f"{worst.health} ({MEANING[worst.health]})"
        head = f"{len(sick)} of {len(rows)} parameters are not healthy. Worst: {names}: {worst_is}."
    return " ".join([head, *loop])


def _actions(run: str, rows: list[ParameterHealth], loop: bool) -> tuple[Action, ...]:
    if not loop and all(r.health in QUIET for r in rows):
        return ()
    actions = [Action(tool="diagnose", arguments={"run": run}, reason="names the cause behind these gradients")]
    if any(r.health in {"vanishing", "zero", "exploding", "non_finite"} for r in rows):
        actions.append(
            Action(tool="analyze_layers", arguments={"run": run}, reason="shows the layers the gradient comes through")
        )
    return tuple(actions)
