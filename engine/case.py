"""A run as the causes see it: derived measurements, each computed once, none of them a judgement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from aitia.engine.curves import Curve, Floats, listing, nanmax, nanmedian, phase_means
from aitia.engine.printed import Printed, printed
from aitia.engine.ranks import Ranks, ranks
from aitia.engine.records import Fact, LayerInfo, LossSite, ParameterInfo, SourceLocation
from aitia.engine.signature import Call, parse_signature, wiped
from aitia.engine.store.reader import Array, Floats32, Run

__all__ = [
    "Call",
    "Case",
    "Curve",
    "Dead",
    "Floats",
    "listing",
    "nanmax",
    "nanmedian",
    "parse_signature",
    "phase_means",
]


MIN_PHASE = 20
"""Steps after which a new optimizer means a new phase of training."""
OVERSHOOT = 0.3
"""An update of nearly a third of the weight norm in one step: the usual range is 1e-4 to 1e-2 (cs231n, part 3)."""
MAX_PHASES = 4
"""A program that builds more optimizers than this builds them in its loop: no phases."""


@dataclass(frozen=True)
class Dead:
    """Features that are zero for every sample of a batch, at one layer."""

    layer: str
    share: float
    onset: int
    """First step with nearly the final share."""
    share_first: float


class Case:
    """Derived measurements of one run; the only thing a cause may look at."""

    def __init__(self, run: Run) -> None:
        self.run = run

    # ---- ranks ----------------------------------------------------------------------------------------------------

    @cached_property
    def ranks(self) -> Ranks | None:
        """This run and its siblings, where it was one rank of several; None for a single process."""
        return ranks(self.run)

    # ---- time --------------------------------------------------------------------------------------------------

    @cached_property
    def n_steps(self) -> int:
        """Finished optimizer steps."""
        return self.run.n_steps

    @cached_property
    def n_backward(self) -> int:
        """Backward calls."""
        return len(self.run.table("backward")["step"])

    @cached_property
    def signatures(self) -> dict[str, int]:
        """Order of calls in a step → how many steps had it."""
        counts = self.run.facts("signature_counts")
        if counts:
            return {str(k): int(v) for k, v in counts[-1].data.items() if k != "signature"}
        return {str(f.data.get("signature", "")): 1 for f in self.run.facts("signature")}

    @cached_property
    def main_signature(self) -> list[Call]:
        """Calls of the most frequent kind of step."""
        if not self.signatures:
            return []
        return parse_signature(max(self.signatures, key=lambda s: self.signatures[s]))

    @cached_property
    def closures(self) -> bool:
        """Whether an optimizer calls the program back within its step, as L-BFGS does."""
        return bool(self.run.facts("closure"))

    @cached_property
    def wiped(self) -> int:
        """Backward passes whose gradients were cleared before any step used them; a closure's are used by its step."""
        if self.closures:
            return 0
        return sum(wiped(parse_signature(text)) * n for text, n in self.signatures.items())

    def steps_where(self, predicate: object) -> int:
        """How many steps have a signature (list of calls) for which the predicate holds."""
        assert callable(predicate)
        return sum(n for text, n in self.signatures.items() if predicate(parse_signature(text)))

    # ---- loss --------------------------------------------------------------------------------------------------

    @cached_property
    def phase_start(self) -> int:
        """First step of the last phase of training: when the last optimizer was built (1: there is one phase).

        Pre-training and fine-tuning in one program are two curves; what ended well or badly is the last one.
        """
        built = [f.step for f in self.run.facts("optimizer_built")]
        later = [s for s in built if s > 1 and self.n_steps - s >= MIN_PHASE]
        return max(later) if later and len(built) <= MAX_PHASES else 1

    @cached_property
    def loss(self) -> Curve:
        """Loss per optimizer step of the last phase; per backward when no optimizer ever stepped."""
        steps, values = self.run.scalar("loss")
        last = steps >= self.phase_start
        if np.isfinite(values[last]).any():
            return Curve(steps[last], values[last])
        table = self.run.table("backward")
        return Curve(np.arange(1, len(table["loss"]) + 1), table["loss"])

    @cached_property
    def per_backward(self) -> Curve:
        """Loss per backward call."""
        table = self.run.table("backward")
        return Curve(np.arange(1, len(table["loss"]) + 1), table["loss"])

    @cached_property
    def nonfinite_step(self) -> int | None:
        """First step whose loss or gradient was NaN or Inf."""
        found = [self.per_backward_nonfinite]
        steps, norm = self.run.scalar("grad_norm")
        bad = np.flatnonzero(np.isinf(norm)) if len(norm) else np.empty(0, int)
        if len(bad):
            found.append(int(steps[bad[0]]))
        fact = self.run.fact("nonfinite")
        if fact is not None:
            found.append(fact.step)
        known = [s for s in found if s is not None]
        return min(known) if known else None

    @cached_property
    def per_backward_nonfinite(self) -> int | None:
        """Step of the first backward whose loss was not finite."""
        table = self.run.table("backward")
        bad = np.flatnonzero(~np.isfinite(table["loss"]))
        return int(table["step"][bad[0]]) if len(bad) else None

    def calls(self, *, grad: bool, site: int | None = None) -> dict[str, Array]:
        """Rows of the loss table in training (grad) or evaluation."""
        table = self.run.table("loss")
        keep = table["grad"] == (1.0 if grad else 0.0)
        if site is not None:
            keep &= table["site"] == site
        return {name: column[keep] for name, column in table.items()}

    def accuracy(self, *, grad: bool) -> Curve:
        """Share of targets hit, recomputed by us from what was passed to the loss; one value per step."""
        return phase_means(self.calls(grad=grad), "accuracy")

    def eval_curve(self, column: str) -> Curve:
        """One column of evaluation loss calls, averaged per evaluation phase (weighted by samples)."""
        rows = self.calls(grad=False)
        return phase_means(rows, column)

    def train_curve(self, column: str) -> Curve:
        """One column of training loss calls, per call."""
        rows = self.calls(grad=True)
        return Curve(rows["step"].astype(np.int64), rows[column])

    @cached_property
    def chance(self) -> float:
        """Accuracy of always guessing the most frequent class in what was shown to the loss."""
        counts = self.class_counts(grad=True)
        if counts is None:
            counts = self._first_batches()
        if counts is not None and counts.sum() > 0:
            return float(counts.max() / counts.sum())
        major = self.run.table("loss")["target_majority"]
        major = major[np.isfinite(major)]
        return float(np.median(major)) if len(major) else math.nan

    def class_counts(self, *, grad: bool, site: int | None = None) -> Floats | None:
        """How often each class was a target over the run (row sums of the confusion table), or None."""
        table = self.confusion(grad=grad, site=site)
        return None if table is None else np.asarray(table.sum(axis=1), dtype=np.float64)

    def confusion(self, *, grad: bool, site: int | None = None) -> Floats | None:
        """[target, prediction] counts of one classification site (the first by default), or None."""
        for fact in self.run.facts("confusion"):
            table = np.asarray(fact.data.get("table") or [], dtype=np.float64)
            if fact.data.get("grad") is grad and table.ndim == 2 and site in (None, self.site_of(fact)):
                return table
        return None

    def _first_batches(self) -> Floats | None:
        counts: dict[int, float] = {}
        for fact in self.run.facts("loss_call"):
            for key, value in enumerate(fact.data.get("target_dist") or []):
                counts[key] = counts.get(key, 0.0) + float(value)
        return np.asarray(list(counts.values()), dtype=np.float64) if counts else None

    @cached_property
    def log(self) -> list[Printed]:
        """Figures that the program printed itself."""
        return printed(self.run.log_tail())

    @cached_property
    def hits(self) -> Curve:
        """Share of predictions that the program itself found equal to labels, per evaluation; of the `==` used most."""
        plain = [f for f in self.run.facts("comparison") if _one_by_one(f.data.get("shapes") or [], f.data)]
        best = max(plain, key=lambda f: (f.data.get("matched") or 0, sum(f.data.get("n") or [0])), default=None)
        if best is None or (len(plain) > 1 and not best.data.get("matched")):
            return Curve(np.empty(0, np.int64), np.empty(0))
        agreed, n = np.asarray(best.data["agreed"], np.float64), np.asarray(best.data["n"], np.float64)
        return Curve(np.asarray(best.data["steps"], np.int64), agreed / np.maximum(n, 1.0))

    @cached_property
    def eval_accuracy(self) -> Floats:
        """Accuracy in evaluation: recomputed from the loss calls, else as compared, else as printed by the program."""
        for curve in (self.eval_curve("accuracy"), self.hits):
            if curve.n:
                return curve.values[np.isfinite(curve.values)]
        return np.asarray([p.value for p in self.log if p.accuracy and p.evaluation is not False], dtype=np.float64)

    @cached_property
    def n_classes(self) -> int | None:
        """Classes of the classification loss, or None."""
        for fact in self.run.facts("loss_call"):
            n = fact.data.get("n_classes")
            if isinstance(n, int) and n > 0:
                return n
        return None

    def site(self, index: int) -> LossSite | None:
        """The loss site of that index."""
        return next((s for s in self.run.losses if s.index == index), None)

    @staticmethod
    def site_of(fact: Fact) -> int | None:
        """Loss site that a `loss_call` (or another fact about a site) speaks of."""
        return int(fact.subject) if fact.subject.isdigit() else None

    @cached_property
    def train_loss_calls(self) -> list[Fact]:
        """`loss_call` facts of sites that were called with gradients tracked."""
        sites = set(self.calls(grad=True)["site"].astype(int).tolist())
        found = []
        for fact in self.run.facts("loss_call"):
            site = self.site_of(fact)
            if site is None or site in sites:
                found.append(fact)
        return found

    # ---- learning ----------------------------------------------------------------------------------------------

    @cached_property
    def learned(self) -> bool:
        """True when the training loss or accuracy clearly improved: far beyond its own noise."""
        accuracy = self.accuracy(grad=True)
        if accuracy.n >= 6 and math.isfinite(self.chance):
            room = 1.0 - self.chance
            if room > 0 and (accuracy.last - self.chance) > 0.35 * room:
                return True
        curve = self.loss
        # a fall from a height that training itself made is none
        back_down = curve.last < curve.start or curve.start <= 0
        return curve.n >= 6 and curve.fall > 0.25 and (curve.first - curve.last) > 3 * curve.spread and back_down

    @cached_property
    def flat(self) -> bool:
        """True when the training loss ended where it began, within its own noise or 5 %."""
        curve = self.loss if self.loss.n else self.per_backward
        if curve.n < 6:
            return False
        return curve.fall < 0.05 or (curve.first - curve.last) < curve.spread

    @cached_property
    def diverged(self) -> bool:
        """True when the loss ended well above its best or its start, or became non-finite after growing."""
        curve = self.loss
        if curve.n < 6:
            return False
        if curve.first > 2 * curve.start > 0 and curve.last > 2 * curve.start:
            return True  # it rose within the first tenth already, and never came back to what an untrained model gives
        span = max(abs(curve.first), abs(curve.lowest), 1e-9)
        return (curve.last - curve.first) > 0.5 * span or (curve.highest - curve.first) > 5 * span

    # ---- parameters --------------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> list[str]:
        """Parameter names in column order."""
        return [p.name for p in self.run.parameters]

    def param(self, stat: str) -> Floats32:
        """[rows, parameters] of one statistic, as recorded: 40 MB for 1,000 of them over 10,000 steps, so no copy."""
        return self.run.wide("param").values[stat]

    def layer_stat(self, stat: str) -> Floats32:
        """[rows, layers] of one statistic, as recorded."""
        return self.run.wide("layer").values[stat]

    @cached_property
    def param_steps(self) -> npt.NDArray[np.int64]:
        """Steps of the rows of `param`."""
        return self.run.wide("param").steps

    @cached_property
    def update_ratio(self) -> Floats32:
        """[rows, parameters] update norm over weight norm; NaN where not measured."""
        weight = self.param("weight_norm")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = self.param("update_norm") / weight
        ratio[~(weight > 0)] = np.nan
        return ratio

    @cached_property
    def path(self) -> float:
        """Longest way that a matrix went over the whole run, in its own norms; NaN where it was not measured."""
        held = [p.index for p in self.weights if p.optimizers]
        ratios = self.update_ratio[:, held] if held else np.empty((0, 0))
        if not ratios.size:
            return math.nan
        measured = np.isfinite(ratios).sum(0) >= 3
        means = np.where(measured, np.nansum(ratios, 0) / np.maximum(np.isfinite(ratios).sum(0), 1), np.nan)
        return nanmax(means) * self.n_steps

    @cached_property
    def overshoots(self) -> bool:
        """True when early steps change a matrix by more than a third of its norm."""
        held = [p.index for p in self.weights if p.optimizers]
        ratios = self.update_ratio[:, held] if held else np.empty((0, 0))
        early = ratios[np.isfinite(ratios).any(axis=1)][:30]
        worst = np.sort(np.nan_to_num(early).max(axis=1, initial=0.0)) if early.size else np.empty(0)
        return len(worst) > 1 and bool(worst[-2] > OVERSHOOT)

    def written_by_hand(self, name: str) -> bool:
        """Whether a layer or parameter is part of a copy that the program itself moves: a teacher, an average."""
        roots = [str(f.data.get("root")) for f in self.run.facts("copy") if f.data.get("changed") is True]
        return any(name == r or name.startswith((f"{r}.", f"{r.partition('.')[2] or r}.")) for r in roots)

    @cached_property
    def trainable(self) -> list[ParameterInfo]:
        """Parameters of the model that ask for gradients."""
        return [p for p in self.run.parameters if p.requires_grad and p.in_model]

    @cached_property
    def weights(self) -> list[ParameterInfo]:
        """Trainable matrices and kernels (two or more dimensions): where learning lives."""
        return [p for p in self.trainable if len(p.shape) > 1]

    def column(self, stat: str, index: int) -> Floats:
        """One parameter's series of one statistic."""
        return self.run.wide("param").column(stat, index).astype(np.float64)

    def median(self, stat: str, parameter: ParameterInfo) -> float:
        """Median over steps of one statistic of one parameter; NaN when never measured."""
        return nanmedian(self.column(stat, parameter.index))

    def graded(self, index: int) -> bool:
        """Whether a parameter ever had a gradient."""
        return any(nanmax(self.column(stat, index)) > 0 for stat in ("grad_norm", "grad_present"))

    @cached_property
    def coverage(self) -> Fact | None:
        """The last statement of what the optimizers hold and what they should."""
        facts = self.run.facts("coverage")
        return facts[-1] if facts else None

    def covered(self, key: str) -> list[str]:
        """A list out of the last coverage fact."""
        if self.coverage is None:
            return []
        return [str(x) for x in self.coverage.data.get(key, [])]

    # ---- layers ------------------------------------------------------------------------------------------------

    @cached_property
    def leaves(self) -> list[LayerInfo]:
        """Leaf modules in the order of registration."""
        return [x for x in self.run.layers if x.leaf]

    def kinds(self, *kinds: str) -> list[LayerInfo]:
        """Layers of these kinds."""
        return [x for x in self.run.layers if x.kind in kinds]

    def layer_series(self, layer: LayerInfo, stat: str) -> Floats:
        """One layer's series of one statistic."""
        return self.run.wide("layer").column(stat, layer.index).astype(np.float64)

    @cached_property
    def dead(self) -> Dead | None:
        """The layer with the largest share of features that are zero for every sample at the end, or None."""
        worst: Dead | None = None
        first = next((x for x in self.leaves if x.kind in {"linear", "conv"}), None)
        for layer in self.leaves:
            rectifier = layer.kind == "activation" and "ReLU" in layer.cls and "Leaky" not in layer.cls
            fed = (
                layer.kind in {"linear", "conv"} and layer is not first
            )  # the first input is data: empty pixels are not dead
            if not rectifier and not fed:
                continue
            series = self.layer_series(layer, "out_dead_share" if rectifier else "in_dead_share")
            ok = np.isfinite(series)
            if self.nonfinite_step is not None:  # what is NaN is not above zero either, and no unit died of it
                ok &= self.run.wide("layer").steps < self.nonfinite_step
            if ok.sum() < 3:
                continue
            share = float(np.median(series[ok][-max(3, int(ok.sum()) // 4) :]))
            onset = int(self.run.wide("layer").steps[ok][np.argmax(series[ok] >= 0.9 * share)]) if share > 0 else 1
            if worst is None or share > worst.share:
                worst = Dead(layer.name, share, onset, float(series[ok][0]))
        return worst

    def owner(self, parameter: str) -> str:
        """Dotted path of the module that owns a parameter."""
        info = self.run.parameter(parameter)
        return info.layer if info is not None and info.layer else parameter.rpartition(".")[0] or parameter

    # ---- source ------------------------------------------------------------------------------------------------

    def place(self, fact: Fact | None) -> SourceLocation | None:
        """Where in the user's code a fact happened."""
        if fact is None or fact.file is None or fact.line is None:
            return None
        return SourceLocation(file=fact.file, lines=(fact.line,))

    def optimizer_place(self, index: int = 0) -> SourceLocation | None:
        """Where an optimizer was built."""
        for info in self.run.optimizers:
            if info.index == index and info.file is not None and info.line is not None:
                return SourceLocation(file=info.file, lines=(info.line,))
        return None

    def site_place(self, index: int | None = None) -> SourceLocation | None:
        """Where a loss function is called in training (the first such place by default)."""
        if index is None:
            sites = self.calls(grad=True)["site"].astype(int).tolist()
            index = sites[0] if sites else None
        site = None if index is None else self.site(index)
        if site is None or site.file is None or site.line is None:
            return None
        return SourceLocation(file=site.file, lines=(site.line,))

    @property
    def loss_place(self) -> SourceLocation | None:
        """Where the value was made that goes into backward, by hand or by a loss function."""
        made = self.place(self.run.fact("loss_code"))
        return made or self.site_place() or self.place(self.run.fact("graph"))

    @cached_property
    def probes(self) -> dict[str, list[Fact]]:
        """Results of the experiments after training, by name."""
        found: dict[str, list[Fact]] = {}
        for fact in self.run.facts("probe"):
            found.setdefault(str(fact.data.get("name", fact.subject)), []).append(fact)
        return found


def _one_by_one(shapes: list[list[int]], data: Mapping[str, Any]) -> bool:
    """Whether a comparison can be one of predictions with labels, one of each for every sample.

    Of sequences and pictures of labels some places may not count, which the comparison alone does not tell.
    """
    if data.get("crossed") or data.get("single") or len(shapes) != 2:
        return False
    return shapes[0] == shapes[1] and sum(n > 1 for n in shapes[0]) == 1
