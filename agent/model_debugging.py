"""The debugging agent as one object in the user's process: a request in, a response out."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import numpy as np

from aitia.agent import focus
from aitia.agent.diagnosis import again, by_rules, with_fixes
from aitia.agent.errors import AnalysisError, ConfigurationError, LanguageModelError, MonitoringError, ProfilingError
from aitia.agent.request import (
    Cost,
    DebuggingConfig,
    DebuggingRequest,
    DebuggingResponse,
    Issue,
    MetricCourse,
    Severity,
    Threshold,
)
from aitia.engine.drawing import svg
from aitia.engine.graph import mermaid
from aitia.engine.reason import calibration
from aitia.engine.records import Diagnosis, Evidence
from aitia.engine.store.reader import Run, open_run, runs_root
from aitia.engine.store.schema import NARROW
from aitia.tools.result import ToolResult

GRAVE = 0.9
"""Confidence from which an accused cause is critical: one decisive measurement reaches it."""
METRICS = tuple(name for name in NARROW["step"] if name not in {"step", "time"})
"""What can be a target metric or have a threshold."""


class ModelDebuggingAgent:
    """Answers debugging requests with one configuration; holds no state between them."""

    def __init__(self, config: DebuggingConfig | None = None) -> None:
        self.config = config or DebuggingConfig()
        _known(self.config)

    def debug_model(self, request: DebuggingRequest | None = None) -> DebuggingResponse:
        """Examine a run, or a live model on a batch.

        Raises `AnalysisError` (nothing to analyze), `ProfilingError` (a measurement failed), `LanguageModelError` (the
        model refused, or failed with `require_llm`), and the run directory's own errors.
        """
        asked, started, memory = request or DebuggingRequest(), time.monotonic(), _peak_memory()
        if asked.model is None:
            return self._answer(asked, self._run(asked), started, memory)
        if asked.run is not None:
            raise AnalysisError("give either a run or a live model, not both.")
        from aitia.agent.live import recorded

        with recorded(asked, self.config.level, self.config.runs) as run:
            return self._answer(asked, run, started, memory)

    def _answer(self, asked: DebuggingRequest, run: Run, started: float, memory: int) -> DebuggingResponse:
        words = _words(asked)
        diagnosis, results = self._examine(run, words, asked)
        notes: tuple[str, ...] = ()
        calls = tokens = 0
        if self.config.model is not None:
            from aitia.agent.judge import complaint, consult
            from aitia.agent.lm import make_lm

            lm = make_lm(self.config.model, self.config.api_base)
            done = consult(run, diagnosis, lm, words, deep=self.config.level == "comprehensive")
            if self.config.require_llm and done.diagnosis.mode == "rules_fallback":
                raise LanguageModelError(complaint(done.diagnosis))
            diagnosis, notes, calls, tokens = done.diagnosis, tuple(done.notes), done.calls, done.tokens
        diagnosis = again(run, with_fixes(run, diagnosis))
        issues = (*_issues(diagnosis), *_alerts(run, self.config.alert_thresholds))
        issues = tuple(sorted(issues, key=lambda i: ("critical", "major", "minor").index(i.severity)))
        return DebuggingResponse(
            run=run.id, issues=issues, recommendations=_recommendations(diagnosis, results), diagnosis=diagnosis,
            metrics={name: _course(run, name) for name in self.config.target_metrics},
            visualizations=_pictures(run, diagnosis, self.config),
            measurements={name: result.summary for name, result in results.items()}, notes=notes,
            cost=Cost(
                analysis_seconds=round(time.monotonic() - started, 3), memory_bytes=max(0, _peak_memory() - memory),
                issues_found=len(issues), model_calls=calls, tokens=tokens,
            ),
        )  # fmt: skip

    def _run(self, request: DebuggingRequest) -> Run:
        if isinstance(request.run, Path):
            return Run(request.run)
        return open_run(request.run, runs_root(self.config.runs))

    def _examine(
        self, run: Run, words: str | None, asked_for: DebuggingRequest
    ) -> tuple[Diagnosis, dict[str, ToolResult]]:
        """The rules' diagnosis, and the measurements that level, configuration and words ask for."""
        diagnosis = by_rules(run, words)
        if asked_for.model is not None:
            from aitia.agent.live import without_ours

            diagnosis = without_ours(diagnosis, asked_for, run)
        level = {"basic": (), "detailed": ("layers", "gradients"), "comprehensive": tuple(focus.MEASUREMENTS)}
        asked = focus.focus(words) if self.config.level != "basic" else ()
        names = [n for n in focus.MEASUREMENTS if n in {*level[self.config.level], *self.config.monitor, *asked}]
        of = focus.subject(run, words)
        results = {name: _measured(run, name, of) for name in names}
        ledger: dict[str, Evidence] = {e.id: e for e in diagnosis.evidence}
        for result in results.values():
            ledger |= {e.id: e for e in result.evidence if e.id not in ledger}
        return diagnosis.model_copy(update={"evidence": tuple(ledger.values())}), results


def _known(config: DebuggingConfig) -> None:
    """Raise for names that do not exist, with those that do."""
    unknown = [m for m in config.monitor if m not in focus.MEASUREMENTS]
    if unknown:
        raise MonitoringError(f"cannot monitor {', '.join(unknown)}; there are {', '.join(focus.MEASUREMENTS)}.")
    unknown = [m for m in (*config.target_metrics, *config.alert_thresholds) if m not in METRICS]
    if unknown:
        raise MonitoringError(f"no metric {', '.join(unknown)}; there are {', '.join(METRICS)}.")
    empty = [m for m, t in config.alert_thresholds.items() if t.above is None and t.below is None]
    if empty:
        raise MonitoringError(f"the threshold of {', '.join(empty)} says neither above nor below.")
    if config.require_llm and config.model is None:
        raise ConfigurationError("require_llm needs a model, e.g. model='ollama/qwen3:8b'.")


def _measured(run: Run, name: str, of: str | None) -> ToolResult:
    try:
        result = focus.measure(run, name, of)
    except Exception as error:
        raise ProfilingError(f"{name} could not be measured on {run.id}: {type(error).__name__}: {error}") from error
    if result is None:
        raise ProfilingError(f"no measurement {name}; there are {', '.join(focus.MEASUREMENTS)}.")
    return result


def _words(request: DebuggingRequest) -> str | None:
    known = ", ".join(f"{k} {v}" for k, v in request.context.items())
    parts = [p for p in (request.words, f"({known})" if known else "") if p]
    return " ".join(parts) or None


def _issues(diagnosis: Diagnosis) -> list[Issue]:
    found = []
    for hypothesis in diagnosis.hypotheses:
        faulty = diagnosis.verdict == "faulty"
        severity: Severity = "minor"
        if faulty and hypothesis.confidence >= calibration()["bar"]:
            severity = "critical" if hypothesis.confidence >= GRAVE else "major"
        found.append(Issue(
            type=hypothesis.cause, severity=severity, message=hypothesis.explanation, component=hypothesis.component,
            location=hypothesis.location, evidence=hypothesis.evidence,
        ))  # fmt: skip
    return found


def _alerts(run: Run, thresholds: dict[str, Threshold]) -> list[Issue]:
    found = []
    for name, limit in thresholds.items():
        steps, values = run.scalar(name)
        with np.errstate(invalid="ignore"):
            high = values > limit.above if limit.above is not None else np.zeros(len(values), bool)
            low = values < limit.below if limit.below is not None else np.zeros(len(values), bool)
        hits = np.flatnonzero(high | low)
        if len(hits):
            first = int(hits[0])
            side = f"above {limit.above:g}" if high[first] else f"below {limit.below:g}"
            share = f"({len(hits)} of {len(values)} steps)"
            text = f"{name} is {values[first]:.4g} at step {int(steps[first])}, {side} {share}"
            found.append(Issue(type=f"alert.{name}", severity="major", message=text))
    return found


def _pictures(run: Run, diagnosis: Diagnosis, config: DebuggingConfig) -> dict[str, str]:
    """The chain as text and drawn, and beyond `basic` the course of the target metrics as pictures."""
    found = {}
    if diagnosis.hypotheses:
        found = {"causal_graph": mermaid(run, diagnosis), "causal_graph.svg": svg(run, diagnosis)}
    if config.level == "basic":
        return found
    from aitia.tools.plots import COLUMNS, plot_run

    kinds: dict[str, Any] = {column: what for what, column in COLUMNS.items()} | {"loss": "loss"}
    for name in config.target_metrics:
        try:
            picture = plot_run(run, kinds[name])[1]
        except KeyError:  # no picture of that metric, or it was not measured
            continue
        found[f"plot.{name}"] = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return found


def _recommendations(diagnosis: Diagnosis, results: dict[str, ToolResult]) -> tuple[str, ...]:
    fixes = [h.fix.summary for h in diagnosis.hypotheses if h.fix is not None]
    actions = [f"{a.tool}: {a.reason}" for r in results.values() for a in r.suggested_actions]
    return tuple(dict.fromkeys([*fixes, *diagnosis.next_measurements, *actions]))


def _course(run: Run, name: str) -> MetricCourse:
    _, values = run.scalar(name)
    known = values[np.isfinite(values)]
    if not len(known):
        return MetricCourse(first=None, last=None, lowest=None, highest=None, n=0)
    return MetricCourse(
        first=float(known[0]),
        last=float(known[-1]),
        lowest=float(known.min()),
        highest=float(known.max()),
        n=len(known),
    )


def _peak_memory() -> int:
    """Peak resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        import resource
        import sys
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
