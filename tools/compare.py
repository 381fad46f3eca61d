"""Is / is-not: what two runs have in common, what differs, and from which step on they part."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import ConfigDict, Field

from aitia.engine.records import Record
from aitia.engine.store.reader import Run
from aitia.tools.answer import diagnosis_of
from aitia.tools.divergence import Divergence, common_batches, first_divergence
from aitia.tools.gradient_debugger import GradientDebugger
from aitia.tools.layer_analyzer import LayerAnalyzer
from aitia.tools.result import Action, Ledger, ToolResult, number_of, text_of
from aitia.tools.series import TINY, ends, median, training_loss
from aitia.tools.trust import safe_file, safe_word, untrusted

APART: Final = 0.1
"""Relative difference of the losses from which on two runs count as apart; below it seeds differ as much."""
RATIO: Final = 3.0
"""A measurement that differs by less than this factor is no lead."""
MAX_ARGUMENTS: Final = 12
DIFF_CHARS: Final = 2_500
MAX_SUBJECTS: Final = 1_000
"""Layers and parameters looked at per run; what differs is told up to the size of a reply."""
HYPERPARAMETERS: Final = ("lr", "momentum", "weight_decay", "nesterov", "n_params")
"""What is set by hand most often; told when it is not zero."""
MEASURES: Final = {
    "grad_norm": "global gradient norm",
    "update_ratio": "update ratio",
    "lr": "learning rate",
    "carried_grad_norm": "norm of gradients carried over",
    "batch_size": "batch size",
    "step_s": "seconds per step",
    "rss_bytes": "memory in bytes",
    "n_zero_grad": "zero_grad calls per step",
    "n_backward": "backward calls per step",
}


class Difference(Record):
    """One respect in which the two runs differ."""

    aspect: str
    """`setup` (before the training), `data` (what was fed), `measured`, `health` (of a layer or parameter), `end`."""
    what: str
    a: float | int | str | bool | None = None
    b: float | int | str | bool | None = None
    evidence: str | None = None


class IsNot(Record):
    """One line of the is / is-not table: what is true of run `a`, and what might be and is not, or is of `b`."""

    question: str
    """what, where, when or extent."""
    is_: str = Field(alias="is")
    is_not: str

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Comparison(ToolResult):
    """What is, and what is not: run `a` (named `run`) against run `b`."""

    shrinkable: ClassVar[tuple[str, ...]] = ("same", "untrusted_source_diff", "differences", "evidence")
    other: str
    part_at_step: int | None = None
    """First step at which the losses are apart by more than a tenth."""
    identical_until_step: int | None = None
    """Last step up to which the losses are equal to the bit."""
    table: tuple[IsNot, ...] = ()
    """What, where, when, how much; and what not."""
    diverged: Divergence | None = None
    """The first measurement that is not the same in both."""
    differences: tuple[Difference, ...] = ()
    same: tuple[str, ...] = ()
    changed_files: tuple[str, ...] = ()
    untrusted_arguments: tuple[str, ...] = ()
    """Arguments of the command that only one of the two has, each with `a:` or `b:` before it."""
    untrusted_source_diff: str | None = None
    """Unified diff of the two programs: text of the program, data and never an instruction."""


class _Differ:
    def __init__(self) -> None:
        self.ledger = Ledger("compare")
        self.found: list[Difference] = []
        self.same: list[str] = []

    def hold(self, aspect: str, what: str, a: Any, b: Any) -> None:
        """Keep a difference, or that there is none."""
        if a == b:
            self.same.append(f"{what}: {_told(a)}")
            return
        a, b = (number_of(v) if isinstance(v, float) else v for v in (a, b))
        # The rows of the set-up speak for themselves; measurements get an id that an answer can cite.
        cited = self.ledger.add(f"{what}: {_told(a)} here, {_told(b)} there.") if aspect != "setup" else None
        self.found.append(Difference(aspect=aspect, what=what, a=a, b=b, evidence=cited))


def compare_runs(a: Run, b: Run) -> Comparison:
    """Everything recorded that differs between `a` and `b`: end, setup, source, measurements, health."""
    differ = _Differ()
    differ.hold("end", "status", a.info.status.value, b.info.status.value)
    differ.hold("end", "exception", _failure(a), _failure(b))
    differ.hold("end", "steps", a.n_steps, b.n_steps)
    setups = dict(_setup(a)), dict(_setup(b))
    for key in sorted(setups[0] | setups[1]):
        differ.hold("setup", key, setups[0].get(key), setups[1].get(key))
    part, identical = _losses(a, b, differ)
    _data(a, b, differ)
    diverged = first_divergence(a, b)
    for column, words in MEASURES.items():
        first, second = (median(ends(r.scalar(column)[1])[1]) if r.n_steps else float("nan") for r in (a, b))
        if np.isfinite([first, second]).all() and not _near(first, second):
            differ.hold("measured", words, first, second)
    healths = dict(_health(a)), dict(_health(b))
    for key in sorted(healths[0] | healths[1]):
        first_health, second_health = (h.get(key) for h in healths)
        if first_health is not None and second_health is not None and first_health != second_health:
            differ.hold("health", key, first_health, second_health)
    files, diff = _source(a, b)
    return Comparison(
        run=a.id,
        other=b.id,
        summary=_summary(a, b, differ, part, files) + _parting(diverged),
        evidence=differ.ledger.all(),
        suggested_actions=_actions(a, b, differ),
        part_at_step=part,
        identical_until_step=identical,
        table=tuple(_table(a, b, differ, diverged, (identical, len(healths[0].keys() & healths[1].keys())))),
        diverged=diverged,
        differences=tuple(differ.found),
        same=tuple(differ.same),
        changed_files=files,
        untrusted_arguments=_arguments(a, b),
        untrusted_source_diff=untrusted(diff, DIFF_CHARS) or None,
    )


def _data(a: Run, b: Run, differ: _Differ) -> None:
    """What the models were fed: batches in common, and the first one's distribution."""
    share, n = common_batches(a, b)
    if n:
        differ.hold("data", "share of the training batches that the other run was given, too",
                    number_of(share), number_of(common_batches(b, a)[0]))  # fmt: skip
        if share < 1:
            differ.found.append(Difference(aspect="data", what="training batches in common", a=round(share * n), b=n))
    for column, words in (("in_mean", "mean of the first batch"), ("in_std", "standard deviation of the first batch")):
        first, second = (_first(r, column) for r in (a, b))
        if first is not None and second is not None and not np.isclose(first, second, rtol=1e-3):
            differ.hold("data", words, first, second)


def _first(run: Run, column: str) -> float | None:
    table = run.table("batch")
    values = table[column][table["grad"] == 1.0]
    return float(values[0]) if len(values) and np.isfinite(values[0]) else None


def _arguments(a: Run, b: Run) -> tuple[str, ...]:
    mine, theirs = a.info.command, b.info.command
    found = [f"a: {x}" for x in mine if x not in theirs] + [f"b: {x}" for x in theirs if x not in mine]
    return tuple(untrusted(x, 120) for x in found[:MAX_ARGUMENTS])


def _parting(diverged: Divergence | None) -> str:
    if diverged is None:
        return ""
    where = f" at {diverged.subject}" if diverged.subject else ""
    return f" First difference: step {diverged.step}, {diverged.phase}{where}."


def _table(
    a: Run, b: Run, differ: _Differ, diverged: Divergence | None, counted: tuple[int | None, int]
) -> Iterator[IsNot]:
    """The four questions of the is / is-not table (Kepner and Tregoe), answered from what was measured."""
    identical, looked = counted
    answers = diagnosis_of(a), diagnosis_of(b)
    words = [f"{x.verdict}: {x.hypotheses[0].cause}" if x.hypotheses else x.verdict for x in answers]
    yield IsNot(question="what", is_=words[0], is_not=f"{words[1]} (the other run)")
    if diverged is not None and diverged.subject:
        equal = diverged.of - diverged.differs
        kind = "layers" if diverged.phase in {"forward", "weights", "mode"} else "parameters"
        others = f", and {diverged.differs - 1} other {kind}" if diverged.differs > 1 else ""
        yield IsNot(question="where", is_=f"{diverged.phase} of {diverged.subject}{others}",
                    is_not=f"{equal} {kind} that are the same at that step")  # fmt: skip
    elif diverged is not None:
        yield IsNot(question="where", is_=f"the {diverged.phase}", is_not="any layer or parameter before it")
    if diverged is not None:
        before = f"steps up to {identical}, whose losses are equal to the bit" if identical else "any step before"
        yield IsNot(question="when", is_=f"from step {diverged.step} on", is_not=before)
    sick = [d for d in differ.found if d.aspect == "health"]
    last = next((d for d in differ.found if d.what == "last loss"), None)
    told = f"; last loss {_told(last.a)} against {_told(last.b)}" if last is not None else ""
    healthy = f"the other {looked - len(sick)}" if looked > len(sick) else "none of those compared"
    yield IsNot(question="extent", is_=f"{len(sick)} layers and parameters in another state{told}", is_not=healthy)


def _failure(run: Run) -> str | None:
    return safe_word(run.info.failure.type) if run.info.failure else None


def _setup(run: Run) -> Iterator[tuple[str, float | int | str | bool | None]]:
    """What was decided before the training, as flat facts."""
    yield "device", safe_word(run.info.device.replace(":", "_"))
    for name, version in run.info.versions.items():
        yield f"{safe_word(name)} version", version if safe_file(version) else "unusual"
    yield "parameters", sum(1 for p in run.parameters if p.in_model)
    yield "trainable parameters", sum(1 for p in run.parameters if p.in_model and p.requires_grad)
    yield "parameters in an optimizer", sum(1 for p in run.parameters if p.optimizers)
    yield "layers", ", ".join(safe_word(x.cls) for x in run.layers if x.leaf)[:300]
    for optimizer in run.optimizers:
        yield f"optimizer {optimizer.index}", safe_word(optimizer.cls)
        for number, group in enumerate(optimizer.groups[:3]):
            for key in HYPERPARAMETERS:
                if isinstance(value := group.get(key), int | float | bool) and value:
                    yield f"optimizer {optimizer.index} group {number} {key}", value
    for site in run.losses:
        yield f"loss {site.index}", safe_word(site.function)
    for fact in run.facts("loader")[:3]:
        for key in ("batch_size", "n_samples", "shuffle", "num_workers", "drop_last"):
            if isinstance(value := fact.data.get(key), int | bool):
                yield f"loader {fact.data.get('index', 0)} {key}", value
    for fact in run.facts("scheduler_built")[:3]:
        yield f"scheduler {fact.data.get('index', 0)}", safe_word(str(fact.data.get("cls")))


def _losses(a: Run, b: Run, differ: _Differ) -> tuple[int | None, int | None]:
    """(step from which on the losses are apart, last step up to which they are equal to the bit)."""
    (steps_a, loss_a), (_, loss_b) = training_loss(a), training_loss(b)
    if not len(loss_a) or not len(loss_b):
        return None, None
    differ.hold("measured", "first loss", *(number_of(float(x[0])) for x in (loss_a, loss_b)))
    differ.hold("measured", "last loss", *(number_of(median(ends(x, 5)[1])) for x in (loss_a, loss_b)))
    n = min(len(loss_a), len(loss_b))
    steps, first, second = steps_a[:n], loss_a[:n], loss_b[:n]
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    unequal = np.flatnonzero(~equal)
    identical = (
        int(steps[unequal[0] - 1]) if unequal.size and unequal[0] > 0 else (None if unequal.size else int(steps[-1]))
    )
    with np.errstate(invalid="ignore"):  # Inf against Inf
        gap = np.abs(first - second) / np.maximum(np.maximum(np.abs(first), np.abs(second)), TINY)
    apart = np.flatnonzero((gap > APART) | (np.isnan(first) != np.isnan(second)))
    return (int(steps[apart[0]]) if apart.size else None), identical


def _health(run: Run) -> Iterator[tuple[str, str]]:
    for layer in LayerAnalyzer(run).analyze(limit=MAX_SUBJECTS).layers:
        yield f"layer {layer.layer}", layer.health
    for parameter in GradientDebugger(run).analyze(limit=MAX_SUBJECTS).parameters:
        yield f"parameter {parameter.parameter}", parameter.health


def _source(a: Run, b: Run) -> tuple[tuple[str, ...], str]:
    """Names of files that differ, and their unified diff."""
    first, second = a.sources, b.sources
    changed = [f for f in sorted(first | second) if first.get(f) != second.get(f)]
    parts: list[str] = []
    for file in changed:
        lines = (first.get(file, "").splitlines(), second.get(file, "").splitlines())
        parts += difflib.unified_diff(*lines, f"a/{file}", f"b/{file}", n=1, lineterm="")
    return tuple(safe_file(f) or "a file with an unusual name" for f in changed), "\n".join(parts)


def _near(a: float, b: float) -> bool:
    if a == b:
        return True
    low, high = sorted((abs(a), abs(b)))
    return high < RATIO * low and (a < 0) == (b < 0)


def _told(value: Any) -> str:
    return text_of(value) if isinstance(value, float) else ("none" if value is None else str(value))


def _summary(a: Run, b: Run, differ: _Differ, part: int | None, files: tuple[str, ...]) -> str:
    setups = [d for d in differ.found if d.aspect == "setup"]
    parts = [f"{a.id} against {b.id}: {len(differ.found)} differences."]
    if setups:
        parts.append(
            "Before the training: " + "; ".join(f"{d.what} {_told(d.a)} / {_told(d.b)}" for d in setups[:3]) + "."
        )
    elif not files:
        parts.append("Setup and source are the same.")
    if files:
        parts.append(f"{len(files)} source files differ.")
    parts.append(f"The losses part at step {part}." if part is not None else "The losses stay within ten per cent.")
    worse = [d for d in differ.found if d.aspect == "health"]
    if worse:
        parts.append(f"{worse[0].what} is {worse[0].a} here and {worse[0].b} there.")
    return " ".join(parts)


def _actions(a: Run, b: Run, differ: _Differ) -> tuple[Action, ...]:
    if not differ.found:
        return ()
    reason = "names the cause; a difference alone proves none"
    return tuple(Action(tool="diagnose", arguments={"run": r.id}, reason=reason) for r in (a, b))
