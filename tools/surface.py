"""What an assistant can ask: one method per tool, with the words that tell a model when to call it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Final, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from aitia.engine.records import Diagnosis, RunStatus
from aitia.engine.store.reader import Run
from aitia.tools.answer import changed, diagnosis_of
from aitia.tools.causal import Explanation, View, explain_cause
from aitia.tools.compare import Comparison, compare_runs
from aitia.tools.error_diagnoser import LOG_CHARS, ErrorDiagnoser, ErrorReport
from aitia.tools.gradient_debugger import GradientDebugger, GradientReport
from aitia.tools.layer_analyzer import LayerAnalyzer, LayerReport
from aitia.tools.listing import RunList, run_names, runs_page
from aitia.tools.memory_tracker import MemoryReport, MemoryTracker
from aitia.tools.performance_profiler import PerformanceProfiler, PerformanceReport
from aitia.tools.reply import DiagnosisReply, reply_to
from aitia.tools.trust import RUN_NAME

KEPT_RUNS: Final = 8
"""Runs kept open between calls; a conversation is about one or two."""
NAMED: Final = 8
"""Valid names told in an error."""
DETAILED_ROWS: Final = 25
Format = Literal["concise", "detailed"]
RunArgument = Annotated[str, Field(description="Run name from list_runs, or `latest`.")]
FormatArgument = Annotated[Format, Field(description="`detailed` adds rows and fields.")]
LimitArgument = Annotated[int, Field(ge=1, le=50, description="Rows.")]


class Surface:
    """The tools over one run root. Every method may be called from several threads at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: OrderedDict[tuple[str, float], Run] = OrderedDict()
        self._answers: dict[tuple[str, float], Diagnosis] = {}
        self._lock = threading.Lock()
        self._judging = threading.Lock()

    # ---- tools -------------------------------------------------------------------------------------------------

    def list_runs(
        self,
        limit: LimitArgument = 10,
        cursor: Annotated[str | None, Field(description="next_cursor of the page before.")] = None,
        status: Annotated[RunStatus | None, Field(description="Only runs in this state.")] = None,
    ) -> RunList:
        """List recorded training runs, newest first, with status, losses, known causes. Call it to find run names."""
        return runs_page(self.root, limit=limit, cursor=cursor, status=status)

    def diagnose(self, run: RunArgument = "latest", response_format: FormatArgument = "concise") -> DiagnosisReply:
        """Answer why a training run failed: verdict, ranked causes with confidence, evidence, source lines, fix and
        next step. Call it first for any question about a bad, crashed, stuck or odd run; one call usually suffices.
        `unknown` means something is wrong but no cause clears the bar."""
        opened = self.open(run)
        return reply_to(opened, self.answer(opened), detailed=response_format == "detailed")

    def analyze_layers(
        self,
        run: RunArgument = "latest",
        layer: Annotated[str | None, Field(description="Only this layer and those below it, e.g. `encoder.0`.")] = None,
        limit: LimitArgument = 8,
        response_format: FormatArgument = "concise",
    ) -> LayerReport:
        """Show activation and gradient health per layer, worst first: dead, saturated, constant, vanishing, exploding,
        non-finite, unused. Call it to look deeper at a layer or when diagnose is unsure."""
        rows = max(limit, DETAILED_ROWS) if response_format == "detailed" else limit
        return LayerAnalyzer(self.open(run)).analyze(layer, rows)

    def debug_gradients(
        self,
        run: RunArgument = "latest",
        parameter: Annotated[
            str | None, Field(description="Only this parameter or those below it, e.g. `fc1`.")
        ] = None,
        limit: LimitArgument = 8,
        response_format: FormatArgument = "concise",
    ) -> GradientReport:
        """Show gradient norms, update ratios and optimizer membership per parameter, flow over depth, carried-over
        gradients and clipping. Call it when weights do not move, the loss diverges, or NaN appears."""
        rows = max(limit, DETAILED_ROWS) if response_format == "detailed" else limit
        return GradientDebugger(self.open(run)).analyze(parameter, rows)

    def profile_performance(self, run: RunArgument = "latest") -> PerformanceReport:
        """Show where the time of a step goes (data, forward, backward, optimizer, eval, other) and samples per second.
        Call it when training is slow or becomes slower."""
        return PerformanceProfiler(self.open(run)).analyze()

    def track_memory(self, run: RunArgument = "latest") -> MemoryReport:
        """Show whether host or device memory grows with the steps, and what grows with it. Call it for leaks and
        out-of-memory crashes."""
        return MemoryTracker(self.open(run)).analyze()

    def diagnose_error(self, run: RunArgument = "latest", response_format: FormatArgument = "concise") -> ErrorReport:
        """Show how a run ended: exception, module and shapes at that moment, source line, first NaN, warnings, log
        tail. Call it for a crash, or to read what the program printed."""
        return ErrorDiagnoser(self.open(run)).analyze(LOG_CHARS * (3 if response_format == "detailed" else 1))

    def explain_cause(
        self,
        run: RunArgument = "latest",
        hypothesis: Annotated[str, Field(description="Id from diagnose (`H1`) or a cause id it named.")] = "H1",
        view: Annotated[
            View, Field(description="`graph` adds a Mermaid graph, `svg` a picture to write to a file.")
        ] = "summary",
    ) -> Explanation:
        """Explain one hypothesis: chain of events from cause to symptom, look-alikes and what separates them,
        repair, source. Call it after diagnose, to justify or to doubt its answer."""
        opened = self.open(run)
        return explain_cause(opened, hypothesis, view=view, diagnosis=self.answer(opened))

    def compare_runs(
        self,
        run: Annotated[str, Field(description="The run to explain.")],
        other: Annotated[str, Field(description="The run to hold it against, best one that worked.")],
    ) -> Comparison:
        """Tell what is and what is not: setup, source, measurements and health that differ between two runs, and
        the step at which they part. Call it when one run worked and another did not."""
        return compare_runs(self.open(run), self.open(other))

    # ---- runs --------------------------------------------------------------------------------------------------

    def open(self, name: str) -> Run:
        """The run of that name, out of the list of runs and nothing else.

        Raises:
            ToolError: no such run; the message names valid ones.
        """
        known = run_names(self.root)
        if name == "latest" and known:
            name = known[0]
        if name not in known:
            if not known:
                raise ToolError("no run is recorded here yet. Record one with `aitia run train.py`, then ask again.")
            shown = f" {name!r}" if RUN_NAME.fullmatch(name) else ""
            rest = f" and {len(known) - NAMED} more (see list_runs)" if len(known) > NAMED else ""
            raise ToolError(f"no run{shown} here. Valid: latest, {', '.join(known[:NAMED])}{rest}.")
        path = self.root / name
        refuse_links(path)
        key = (name, changed(path))
        with self._lock:
            if key not in self._open:
                run = Run(path)
                run.complete()
                self._open[key] = run
                while len(self._open) > KEPT_RUNS:
                    old, _ = self._open.popitem(last=False)
                    self._answers.pop(old, None)
            self._open.move_to_end(key)
            return self._open[key]

    def answer(self, run: Run) -> Diagnosis:
        """The diagnosis of an open run, made once per state of the run."""
        key = (run.id, changed(run.path))
        with self._judging:
            if key not in self._answers:
                self._answers[key] = diagnosis_of(run)
            return self._answers[key]


def refuse_links(path: Path) -> None:
    """Refuse a run directory that points elsewhere: the recorder makes no links, so somebody else did.

    Raises:
        ToolError: a file or folder of the run is a symbolic link.
    """
    first = [
        path,
        *(path / n for n in ("run.db", "run.db-wal", "run.db-shm", "log.txt", "series", "source", "samples")),
    ]
    if any(p.is_symlink() for p in (*first, *(path / "series").glob("*"))):
        raise ToolError("this run holds symbolic links and is not read. list_runs shows the others.")
