"""PerformanceProfiler: where the time of a step goes, how fast samples pass, and what waits for what."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from aitia.engine.records import Record
from aitia.engine.store.reader import Array, Run
from aitia.tools.result import Action, Ledger, ToolResult, number_of, percent, text_of
from aitia.tools.series import ends, median

PHASES: Final = ("data", "forward", "backward", "optimizer", "eval")
WARM_UPS: Final = (60, 3)
"""First steps left out: the recorder measures each of the first 60 in full, and in a short run the first three still
build caches and kernels."""
LOADER_SHARE: Final = 0.3
"""From here on waiting for data costs more than tuning the model can win back."""
OPTIMIZER_SHARE: Final = 0.3
"""A fused or foreach optimizer stays well below this."""
OTHER_SHARE: Final = 0.5
"""Time outside all phases: the program's own code between the calls."""
RECORDER_SHARE: Final = 0.05
"""Beyond it the recorder's own cost should be said aloud."""
MIN_TREND: Final = 20
"""Steps that a trend needs."""
GROWTH: Final = 1.5
"""Later steps this many times slower than early ones: something accumulates."""
SPIKE: Final = 5.0
"""A step this many times the median counts as a spike."""


class PhaseShare(Record):
    """One phase of the step."""

    phase: str
    share: float | None = None
    """Of the step's wall time without the recorder's own."""
    seconds_per_step: float | None = None
    evidence: str | None = None


class PerformanceReport(ToolResult):
    """Phases, slowest first."""

    shrinkable: ClassVar[tuple[str, ...]] = ("evidence",)
    phases: tuple[PhaseShare, ...] = ()
    slowest_phase: str | None = None
    steps_measured: int = 0
    step_seconds_median: float | None = None
    step_seconds_p95: float | None = None
    first_step_seconds: float | None = None
    samples_per_second: float | None = None
    recorder_share: float | None = None
    experiments_seconds: float | None = None
    """What the experiments after the end of the training took; they are no part of any step."""
    experiments_share: float | None = None
    """… of the run's time."""
    slowdown: float | None = None
    """Median step time at the end over the median at the beginning."""
    spikes: int = 0
    syncs_per_step: float | None = None
    """Calls by the program that make the host wait for the device, such as `.item()`."""
    device: str = "cpu"


class PerformanceProfiler:
    """Looks at the phase times of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._table = run.table("step")

    def analyze(self) -> PerformanceReport:
        """Shares of all phases over the steps after warm-up."""
        count = len(self._table["step"])
        skip = next((w for w in WARM_UPS if count > 2 * w), 0)
        table = {k: v[skip:] for k, v in self._table.items()}
        recorder = np.nan_to_num(table["recorder_s"])
        times = np.maximum(table["step_s"] - recorder, 0.0)
        total = float(np.nansum(times))
        if not total > 0:
            return PerformanceReport(
                run=self._run.id,
                summary="No step time was recorded, so there is nothing to profile.",
                steps_measured=count,
            )
        ledger = Ledger("performance_profiler")
        fact = self._run.fact("probes")
        took, run_s = (float(fact.data["took_s"]), float(fact.data["run_s"])) if fact is not None else (None, None)
        phases = self._phases(table, total)
        report = PerformanceReport(
            run=self._run.id,
            summary="",
            slowest_phase=phases[0].phase,
            steps_measured=len(times),
            step_seconds_median=number_of(median(times)),
            step_seconds_p95=number_of(float(np.nanpercentile(times, 95))),
            first_step_seconds=number_of(float(self._table["step_s"][0])),
            samples_per_second=number_of(float(np.nansum(table["batch_size"])) / total),
            recorder_share=number_of(float(recorder.sum()) / (float(recorder.sum()) + total)),
            experiments_seconds=number_of(took),
            experiments_share=number_of(took / run_s) if took is not None and run_s else None,
            slowdown=number_of(median(ends(times)[1]) / median(ends(times)[0])) if len(times) >= MIN_TREND else None,
            spikes=int(np.sum(times > SPIKE * median(times))),
            syncs_per_step=number_of(median(table["syncs"])),
            device="cpu" if self._run.info.device.startswith("cpu") else "accelerator",
        )
        advice = self._advice(report, phases, ledger)
        cited = [
            p.model_copy(update={"evidence": self._cite(p, ledger)}) if i == 0 else p for i, p in enumerate(phases)
        ]
        summary = (
            f"The {phases[0].phase} phase takes most of a step: {percent(phases[0].share)} of "
            f"{text_of(report.step_seconds_median)} s; {text_of(report.samples_per_second)} samples per second."
        )
        return report.model_copy(update={
            "summary": " ".join([summary, *advice]),
            "phases": tuple(cited),
            "evidence": ledger.all(),
            "suggested_actions": self._actions(report, bool(advice)),
        })  # fmt: skip

    @staticmethod
    def _phases(table: dict[str, Array], total: float) -> list[PhaseShare]:
        seconds = {p: float(np.nansum(table[f"{p}_s"])) for p in PHASES}
        seconds["other"] = max(0.0, total - sum(seconds.values()))
        n = max(1, len(table["step_s"]))
        rows = [
            PhaseShare(phase=p, share=number_of(s / total), seconds_per_step=number_of(s / n))
            for p, s in seconds.items()
        ]
        return sorted(rows, key=lambda r: -(r.share or 0.0))

    @staticmethod
    def _cite(phase: PhaseShare, ledger: Ledger) -> str:
        return ledger.add(
            f"The {phase.phase} phase takes {percent(phase.share)} of a step ({text_of(phase.seconds_per_step)} s).",
            phase=phase.phase,
            share=phase.share,
            seconds_per_step=phase.seconds_per_step,
        )

    def _advice(self, report: PerformanceReport, phases: list[PhaseShare], ledger: Ledger) -> list[str]:
        share = {p.phase: p.share or 0.0 for p in phases}
        found = []
        if share["data"] > LOADER_SHARE:
            workers = [w for f in self._run.facts("loader") if isinstance(w := f.data.get("num_workers"), int)]
            told = f" with num_workers={workers[0]}" if workers else ""
            ledger.add(f"Steps wait {percent(share['data'])} of the time for the data loader{told}.",
                       data_share=share["data"], num_workers=workers[0] if workers else None)  # fmt: skip
            found.append("The loop waits for data: use workers, cache decoded samples, or decode once.")
        if share["optimizer"] > OPTIMIZER_SHARE:
            ledger.add(
                f"The optimizer takes {percent(share['optimizer'])} of a step.", optimizer_share=share["optimizer"]
            )
            found.append("The optimizer is slow: try fused=True or foreach=True.")
        if share["other"] > OTHER_SHARE:
            ledger.add(f"{percent(share['other'])} of a step lies outside loader, forward, backward and optimizer.",
                       other_share=share["other"])  # fmt: skip
            found.append("Most time passes between the phases: in the program's own code (metrics, copies, logging).")
        if report.slowdown is not None and report.slowdown > GROWTH:
            ledger.add(
                f"Steps became {text_of(report.slowdown)} times slower during the run.", slowdown=report.slowdown
            )
            found.append("Steps get slower over the run: something accumulates.")
        if report.recorder_share is not None and report.recorder_share > RECORDER_SHARE:
            told = (
                f"The recorder itself took {percent(report.recorder_share)} of the wall time, which is left out here."
            )
            ledger.add(told, recorder_share=report.recorder_share)
            found.append(f"{told} Record with level light for timings.")
        return found

    def _actions(self, report: PerformanceReport, advised: bool) -> tuple[Action, ...]:
        actions = []
        if report.slowdown is not None and report.slowdown > GROWTH:
            reason = "growing step time often comes with growing memory"
            actions.append(Action(tool="track_memory", arguments={"run": self._run.id}, reason=reason))
        if advised:
            reason = "checks the causes of slow or growing steps"
            actions.append(Action(tool="diagnose", arguments={"run": self._run.id}, reason=reason))
        return tuple(actions)


def profile_performance(run: Run) -> PerformanceReport:
    """`PerformanceProfiler(run).analyze()` in one call."""
    return PerformanceProfiler(run).analyze()
