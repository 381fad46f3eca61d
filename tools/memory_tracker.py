"""MemoryTracker: how memory moved over the run, whether it grows with the steps, and what was seen growing with it."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np

from aitia.engine.records import Record
from aitia.engine.store.reader import Array, Run, Steps
from aitia.tools.result import Action, Ledger, ToolResult, number_of, text_of
from aitia.tools.series import WINDOW, slope

MIN_STEPS: Final = 20
"""Fewer steps cannot tell a leak from warming up."""
WARM_UP_SHARE: Final = 0.25
"""Allocators fill their pools first; growth is judged on the rest."""
GROWTH_BYTES: Final = 16 * 2**20
"""Less than this over a whole run is noise of allocators and logging."""
GROWTH_SHARE: Final = 0.02
"""Growth has to be this part of the memory in use as well."""
STEADY: Final = 0.7
"""A leak climbs in most parts of the run; one jump (a first evaluation, a bigger batch) does not."""
PARTS: Final = 10
BYTES: Final[dict[str, int]] = {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "bool": 1}
"""Bytes per entry where it is not 4."""


class MemorySeries(Record):
    """One kind of memory over the run, in bytes."""

    kind: str
    """`host` (resident memory of the process) or `device` (allocated on the accelerator)."""
    first: float | None = None
    last: float | None = None
    peak: float | None = None
    peak_step: int | None = None
    bytes_per_step: float | None = None
    """Robust slope after warm-up."""
    growing: bool
    evidence: str | None = None


class MemoryReport(ToolResult):
    """Memory over the run."""

    shrinkable: ClassVar[tuple[str, ...]] = ("evidence",)
    series: tuple[MemorySeries, ...] = ()
    parameter_bytes: int = 0
    live_graphs_first: int | None = None
    live_graphs_last: int | None = None
    """Autograd graphs still alive; a number that grows with the steps means that losses or outputs are kept."""
    tensors_first: int | None = None
    tensors_last: int | None = None
    hooks_last: int | None = None
    retain_graph_calls: int = 0
    out_of_memory: bool = False


class MemoryTracker:
    """Looks at the memory of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def analyze(self) -> MemoryReport:
        """Growth of host and device memory, and the counters that may explain it."""
        ledger = Ledger("memory_tracker")
        series = [s for kind, column in (("host", "rss_bytes"), ("device", "device_bytes"))
                  if (s := self._series(kind, *self._run.scalar(column), ledger)) is not None]  # fmt: skip
        facts = [f.data for f in self._run.facts("memory")]
        graphs = [g for d in facts if isinstance(g := d.get("live_graphs"), int)]
        tensors = [t for d in facts if isinstance(t := d.get("tensors_alive"), int)]
        hooks = [h for f in self._run.facts("hooks") if isinstance(h := f.data.get("count"), int)]
        retained = int(np.nansum(self._run.table("backward")["retain_graph"]))
        if len(graphs) > 1 and graphs[-1] > graphs[0]:
            ledger.add(f"Live autograd graphs grew from {graphs[0]} to {graphs[-1]}.", first=graphs[0], last=graphs[-1])
        if hooks:
            ledger.add(f"The program's forward hooks grew to {hooks[-1]}.", hooks=hooks[-1])
        if retained:
            ledger.add(f"{retained} backward calls kept their graph.", retain_graph_calls=retained)
        oom = any(f.data.get("oom") is True for f in self._run.facts("exception"))
        growing = [s for s in series if s.growing]
        action = Action(tool="diagnose", arguments={"run": self._run.id}, reason="checks the causes of growing memory")
        return MemoryReport(
            run=self._run.id,
            summary=_summary(series, graphs, oom),
            evidence=ledger.all(),
            suggested_actions=(action,) if growing or oom else (),
            series=tuple(series),
            parameter_bytes=sum(math.prod(p.shape) * BYTES.get(p.dtype, 4) for p in self._run.parameters if p.in_model),
            live_graphs_first=graphs[0] if graphs else None,
            live_graphs_last=graphs[-1] if graphs else None,
            tensors_first=tensors[0] if tensors else None,
            tensors_last=tensors[-1] if tensors else None,
            hooks_last=hooks[-1] if hooks else None,
            retain_graph_calls=retained,
            out_of_memory=oom,
        )

    @staticmethod
    def _series(kind: str, steps: Steps, values: Array, ledger: Ledger) -> MemorySeries | None:
        keep = np.isfinite(values)
        steps, values = steps[keep], values[keep]
        if not len(values):
            return None
        start = int(len(values) * WARM_UP_SHARE)
        later, at = values[start:], steps[start:]
        rate = slope(at, later)
        total = rate * float(at[-1] - at[0]) if math.isfinite(rate) else 0.0
        parts = np.array([np.median(p) for p in np.array_split(later, min(PARTS, len(later)))])
        climbing = float(np.mean(np.diff(parts) > 0)) if len(parts) > 1 else 0.0
        limit = max(GROWTH_BYTES, GROWTH_SHARE * float(values[0]))
        growing = len(values) >= MIN_STEPS and total > limit and climbing >= STEADY
        peak = int(values.argmax())
        word = "grows" if growing else "does not grow"
        cited = ledger.add(
            f"{kind.capitalize()} memory {word} with the steps: {megabytes(float(values[0]))} at step {steps[0]}, "
            f"{megabytes(float(values[-1]))} at step {steps[-1]}, {megabytes(rate)} per step after warm-up.",
            first_bytes=float(values[0]),
            last_bytes=float(values[-1]),
            bytes_per_step=rate,
            climbing_share=climbing,
        )
        return MemorySeries(
            kind=kind,
            first=number_of(float(values[0])),
            last=number_of(float(np.median(values[-min(WINDOW, len(values)) :])) if not growing else float(values[-1])),
            peak=number_of(float(values[peak])),
            peak_step=int(steps[peak]),
            bytes_per_step=number_of(rate),
            growing=growing,
            evidence=cited,
        )


def track_memory(run: Run) -> MemoryReport:
    """`MemoryTracker(run).analyze()` in one call."""
    return MemoryTracker(run).analyze()


def megabytes(value: float) -> str:
    """Bytes as megabytes."""
    return "not measured" if not math.isfinite(value) else f"{text_of(value / 1e6)} MB"


def _summary(series: list[MemorySeries], graphs: list[int], oom: bool) -> str:
    if not series:
        return "Memory was not recorded for this run."
    parts = ["The run ended because memory ran out."] if oom else []
    for one in series:
        if one.growing:
            rate = megabytes(one.bytes_per_step or 0.0)
            parts.append(
                f"{one.kind.capitalize()} memory grows by {rate} per step, up to {megabytes(one.peak or 0.0)}."
            )
        else:
            parts.append(
                f"{one.kind.capitalize()} memory does not grow with the steps (peak {megabytes(one.peak or 0.0)})."
            )
    if len(graphs) > 1 and graphs[-1] > graphs[0]:
        parts.append(
            f"Autograd graphs still alive grew from {graphs[0]} to {graphs[-1]}: results are kept with their graph."
        )
    return " ".join(parts)
