"""LayerAnalyzer: health of every layer's activations and of the gradient that reaches it, over the whole run."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aitia.engine.records import LayerInfo, Record
from aitia.engine.store.reader import Run
from aitia.tools.result import Action, Ledger, ToolResult, number_of, percent, text_of
from aitia.tools.series import TINY, column_first, column_max, column_medians, column_min, ends, first_step, select
from aitia.tools.trust import safe_name, safe_word

DEAD_SHARE: Final = 0.5
"""A layer with half of its features zero for every sample of every recent batch has lost half its width."""
SATURATED_SHARE: Final = 0.5
"""Glorot & Bengio 2010 show learning stall once most units of a sigmoid or tanh layer sit in its flat ends."""
CONSTANT_RATIO: Final = 1e-4
"""Spread over samples, relative to the spread over everything, below which the layer says the same for every input."""
VANISHING_RATIO: Final = 1e-3
"""Output-gradient norm relative to the strongest layer of the model; healthy stacks stay within a factor of 100."""
EXPLODING_RATIO: Final = 1e3
"""Growth of the output-gradient norm over its own early median."""
DEPTH_RATIO: Final = 1e3
"""Factor between the spread of a layer's first outputs and those of the model's first layer; an initialization that
keeps the variance (He et al. 2015) stays within a factor of 10 over any depth."""

MEANING: Final[dict[str, str]] = {
    "non_finite": "NaN or Inf passes through it",
    "no_gradient": "no gradient reaches it although other layers of the model get one",
    "dead": "at least half of its features are zero for every sample",
    "saturated": "most of its outputs sit in the flat ends of the activation",
    "constant": "it gives the same output for every sample",
    "vanishing": "the gradient that reaches it is over 1000 times weaker than elsewhere in the model",
    "exploding": "its gradient grew over 1000-fold",
    "activations_exploding": "its outputs were from the start over 1000 times larger than the first layer's",
    "activations_vanishing": "its outputs were from the start over 1000 times smaller than the first layer's",
    "unused": "it was never called in training",
    "not_measured": "nothing was measured for it",
    "healthy": "nothing unusual",
}
"""States of health, worst first."""
QUIET: Final = frozenset({"healthy", "not_measured"})


class LayerHealth(Record):
    """One layer over the run; values are medians over the last steps unless they say otherwise."""

    layer: str
    cls: str
    kind: str
    health: str
    since_step: int | None = None
    evidence: str | None = None
    out_std: float | None = None
    out_std_first: float | None = None
    out_absmax: float | None = None
    """Largest over the whole run."""
    zero_share: float | None = None
    dead_share: float | None = None
    saturated_share: float | None = None
    sample_std: float | None = None
    grad_out_norm: float | None = None
    grad_out_norm_first: float | None = None
    nonfinite: int = 0
    training_share: float | None = None
    """Share of forwards with the layer in training mode; told for dropout and normalization only."""


class LayerReport(ToolResult):
    """Layers, worst first."""

    shrinkable: ClassVar[tuple[str, ...]] = ("layers", "evidence")
    counts: dict[str, int] = Field(default_factory=dict)
    """How many layers are in each state of health."""
    layers: tuple[LayerHealth, ...] = ()


class LayerAnalyzer:
    """Looks at the activations of a run's layers."""

    def __init__(self, run: Run) -> None:
        self._run = run
        wide = run.wide("layer")
        self._steps, self._values = wide.steps, wide.values
        self._width = self._values["calls"].shape[1] if len(self._steps) else 0
        known = self._values if self._width else {}
        self._tail, self._first = {}, {}
        for stat, matrix in known.items():  # one at a time: all matrices of a large run do not fit into memory
            self._tail[stat] = ends(matrix)[1].copy()
            self._first[stat] = column_first(matrix)
        self._now = {stat: column_medians(tail) for stat, tail in self._tail.items()}
        self._leaves = [x for x in run.layers if x.leaf]
        self._last = {i.root: i.index for i in self._leaves}

    def analyze(self, layer: str | None = None, limit: int = 8) -> LayerReport:
        """Health of all layers, or of those whose dotted path begins with `layer`; worst first.

        Raises:
            KeyError: `layer` fits none; the message names layers that exist.
        """
        order = list(MEANING)
        chosen = select(self._leaves, layer, "layer")
        rows = sorted((self._row(info) for info in chosen), key=lambda r: (order.index(r.health), r.since_step or 0))
        ledger, shown = Ledger("layer_analyzer"), []
        for row in rows[:limit]:
            told = row.health not in QUIET or layer is not None
            shown.append(row.model_copy(update={"evidence": _cite(ledger, row)}) if told else row)
        left = len(rows) - len(shown)
        return LayerReport(
            run=self._run.id,
            summary=_summary(rows, len(self._steps)),
            evidence=ledger.all(),
            suggested_actions=_actions(self._run.id, rows),
            omitted=f"{left} of {len(rows)} layers, none worse than those shown; raise limit or name one"
            if left
            else None,
            counts=dict(Counter(r.health for r in rows)),
            layers=tuple(shown),
        )

    def _row(self, info: LayerInfo) -> LayerHealth:
        index, known = info.index, info.index < self._width
        health, since = self._health(info) if known else ("not_measured", None)

        def now(stat: str) -> float | None:
            return number_of(self._now[stat][index]) if known else None

        broken = (
            sum(float(np.nansum(self._values[s][:, index])) for s in ("out_nonfinite", "gout_nonfinite"))
            if known
            else 0
        )
        return LayerHealth(
            layer=safe_name(info.name, index),
            cls=safe_word(info.cls),
            kind=safe_word(info.kind),
            health=health,
            since_step=since,
            out_std=now("out_std"),
            out_std_first=number_of(self._first["out_std"][index]) if known else None,
            out_absmax=number_of(column_max(self._values["out_absmax"][:, [index]])[0]) if known else None,
            zero_share=now("out_zero_share"),
            dead_share=now("out_dead_share"),
            saturated_share=now("out_sat_share"),
            sample_std=now("out_sample_std"),
            grad_out_norm=now("gout_norm"),
            grad_out_norm_first=number_of(self._first["gout_norm"][index]) if known else None,
            nonfinite=int(broken),
            training_share=now("training") if info.kind in {"norm", "dropout"} else None,
        )

    def _health(self, info: LayerInfo) -> tuple[str, int | None]:  # noqa: PLR0911 - an ordered list of rules
        """The worst state that holds, and the step from which on it was seen."""
        index, all_rows = info.index, self._values

        def since(hit: npt.NDArray[np.bool_]) -> int | None:
            return first_step(self._steps, hit)

        bad = (
            np.nan_to_num(all_rows["out_nonfinite"][:, index]) + np.nan_to_num(all_rows["gout_nonfinite"][:, index]) > 0
        )
        if bad.any():
            return "non_finite", since(bad)
        if not np.nansum(all_rows["calls"][:, index]):
            return "unused", None
        mine, strongest = self._now["gout_norm"][index], self._strongest(info.root)
        if self._trains(info) and strongest > 0 and not mine > 0:
            return "no_gradient", self._lost(index)
        if info.kind == "activation" and column_min(self._tail["out_dead_share"][:, [index]])[0] >= DEAD_SHARE:
            return "dead", since(all_rows["out_dead_share"][:, index] >= DEAD_SHARE)
        # A model's last layer may saturate because it is sure.
        if self._last[info.root] != index and self._now["out_sat_share"][index] >= SATURATED_SHARE:
            return "saturated", since(all_rows["out_sat_share"][:, index] >= SATURATED_SHARE)
        varied = all_rows["out_sample_std"][:, index] / np.maximum(np.abs(all_rows["out_absmax"][:, index]), TINY)
        if column_max(ends(varied)[1][:, None])[0] < CONSTANT_RATIO:
            return "constant", since(varied < CONSTANT_RATIO)
        if 0 < mine < VANISHING_RATIO * strongest:
            return "vanishing", since(all_rows["gout_norm"][:, index] < VANISHING_RATIO * strongest)
        grown = all_rows["gout_norm"][:, index] > EXPLODING_RATIO * max(float(self._first["gout_norm"][index]), TINY)
        if self._first["gout_norm"][index] > 0 and grown.any():
            return "exploding", since(grown)
        spread, base = float(self._first["out_std"][index]), self._base(info.root)
        # The scale of a model's last layer is that of its task, not of its initialization.
        if base > 0 and self._last[info.root] != index and not 1 / DEPTH_RATIO < spread / base < DEPTH_RATIO:
            return ("activations_exploding" if spread > base else "activations_vanishing"), int(self._steps[0])
        return "healthy", None

    def _trains(self, info: LayerInfo) -> bool:
        own = (self._run.parameter(name) for name in info.parameters)
        return any(p is not None and p.requires_grad for p in own)

    def _lost(self, index: int) -> int | None:
        """The first measured step after the last one at which a gradient came through."""
        seen = np.flatnonzero(self._values["gout_norm"][:, index] > 0)
        after = self._steps[seen[-1] + 1 :] if seen.size else self._steps
        return int(after[0]) if after.size else None

    def _base(self, root: str) -> float:
        """Spread of the first outputs of the model's first layer that has weights; 0 when none was measured."""
        first = (i.index for i in self._leaves if i.root == root and i.parameters and i.index < self._width)
        spread = float(self._first["out_std"][next(first, 0)]) if self._width else 0.0
        return spread if np.isfinite(spread) else 0.0

    def _strongest(self, root: str) -> float:
        """Largest recent output-gradient norm among a model's layers; 0 when none was measured."""
        norms = [self._now["gout_norm"][i.index] for i in self._leaves if i.root == root and i.index < self._width]
        return float(max((n for n in norms if np.isfinite(n)), default=0.0))


def analyze_layers(run: Run, layer: str | None = None, limit: int = 8) -> LayerReport:
    """`LayerAnalyzer(run).analyze(layer, limit)` in one call."""
    return LayerAnalyzer(run).analyze(layer, limit)


def _cite(ledger: Ledger, row: LayerHealth) -> str:
    facts = {
        "spread of outputs": row.out_std,
        "zero share": row.zero_share,
        "dead share": row.dead_share,
        "saturated share": row.saturated_share,
        "output-gradient norm": row.grad_out_norm,
    }
    numbers = ", ".join(f"{k} {text_of(v)}" for k, v in facts.items() if v is not None)
    since = f" since step {row.since_step}" if row.since_step is not None else ""
    return ledger.add(
        f"{row.layer} ({row.cls}) is {row.health}{since}: {MEANING[row.health]}{'; ' + numbers if numbers else ''}.",
        layer=row.layer,
        health=row.health,
        since_step=row.since_step,
        **{k.replace(" ", "_").replace("-", "_"): v for k, v in facts.items() if v is not None},
    )


def _summary(rows: list[LayerHealth], measured: int) -> str:
    if not rows:
        return "No layer was recorded; the model was never called, or was not seen by the recorder."
    if not measured:
        return f"{len(rows)} layers are known but no step was measured."
    sick = [r for r in rows if r.health not in QUIET]
    if not sick:
        return f"All {len(rows)} layers look healthy over {measured} measured steps."
    worst = sick[0]
    since = f" since step {worst.since_step}" if worst.since_step is not None else ""
    share = f"; dead share {percent(worst.dead_share)}" if worst.health == "dead" else ""
    return (
        f"{len(sick)} of {len(rows)} layers are not healthy. Worst: {worst.layer} ({worst.cls}) is {worst.health}"
        f"{since}: {MEANING[worst.health]}{share}."
    )


def _actions(run: str, rows: list[LayerHealth]) -> tuple[Action, ...]:
    sick = {r.health for r in rows} - QUIET
    if not sick:
        return ()
    actions = [Action(tool="diagnose", arguments={"run": run}, reason="names the cause behind the layers' state")]
    if sick & {
        "vanishing",
        "exploding",
        "activations_exploding",
        "activations_vanishing",
        "no_gradient",
        "saturated",
        "dead",
    }:
        actions.append(
            Action(tool="debug_gradients", arguments={"run": run}, reason="shows where the gradient is lost")
        )
    return tuple(actions)
