"""What is asked of the debugging agent, and what it answers: plain data, without torch or dspy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from aitia.engine.records import Diagnosis, Record, SourceLocation

Level = Literal["basic", "detailed", "comprehensive"]
Severity = Literal["critical", "major", "minor"]


class Threshold(Record):
    """When a metric of the `step` table raises an alert."""

    above: float | None = None
    below: float | None = None


class DebuggingConfig(Record):
    """How much is examined, what is watched, and which language model is asked, if any."""

    level: Level = "detailed"
    """basic: the diagnosis; detailed: and gradients, layers, and what the words ask for; comprehensive: everything."""
    target_metrics: tuple[str, ...] = ("loss",)
    """Columns of the `step` table whose course is reported: loss, lr, grad_norm, update_ratio, rss_bytes …"""
    monitor: tuple[str, ...] = ()
    """Further measurements to take whatever the words say: layers, gradients, performance, memory, errors."""
    alert_thresholds: dict[str, Threshold] = Field(default_factory=dict)
    """Column of the `step` table → when it raises an alert."""
    runs: Path | None = None
    """Where runs live (default: as everywhere, `./.aitia`); the run of a live model is kept there only if named."""
    model: str | None = None
    """Language model, `provider/name`; None: rules."""
    api_base: str | None = None
    require_llm: bool = False


class DebuggingRequest(Record):
    """A recorded run, or a live model with a batch, and what the user says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    run: str | Path | None = None
    """Name or path of a run; with neither run nor model: the latest."""
    model: Any = None
    """A live `torch.nn.Module`; a copy of it is examined."""
    batch: tuple[Any, Any] | None = None
    """Inputs (a tensor, a tuple, or a dict of arguments) and targets for the live model."""
    optimizer: Any = None
    """The optimizer of the live model, so that its rate and what it holds are examined, too; a copy is stepped."""
    loss: Any = None
    """Loss function of (output, target); by default the output's own, else cross entropy or the squared error."""
    words: str | None = None
    """The user's own words: "not converging"."""
    context: dict[str, float | int | str] = Field(default_factory=dict)
    """What the user knows: epoch, loss, rate …"""


class Issue(Record):
    """One thing that is wrong."""

    type: str
    """Id of a cause, or `alert.<metric>`."""
    severity: Severity
    message: str
    component: str | None = None
    location: SourceLocation | None = None
    evidence: tuple[str, ...] = ()


class MetricCourse(Record):
    """A target metric over the run."""

    first: float | None
    last: float | None
    lowest: float | None
    highest: float | None
    n: int


class Cost(Record):
    """What the answer cost."""

    analysis_seconds: float
    memory_bytes: int
    """Growth of the process's peak memory."""
    issues_found: int
    model_calls: int = 0
    tokens: int = 0


class DebuggingResponse(Record):
    """Everything that was found."""

    run: str
    issues: tuple[Issue, ...]
    """The gravest first."""
    recommendations: tuple[str, ...]
    """What to change, then what to measure."""
    diagnosis: Diagnosis
    metrics: dict[str, MetricCourse]
    visualizations: dict[str, str]
    """`causal_graph`: the chain as Mermaid text, `causal_graph.svg`: the same drawn; `plot.<metric>`: its course as a
    picture (a PNG data address)."""
    measurements: dict[str, str]
    """What was examined beyond the diagnosis, each with its finding in a sentence."""
    notes: tuple[str, ...] = ()
    """What a language model said that was refused, and why."""
    cost: Cost
