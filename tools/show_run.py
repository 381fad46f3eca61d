"""The `show_run` tool: a run's curves and verdict for an interactive page in clients that render MCP apps."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Final

from aitia.engine.records import Record
from aitia.engine.store.reader import Run
from aitia.tools.layer_analyzer import LayerAnalyzer
from aitia.tools.result import ToolResult
from aitia.tools.series import thin, training_loss
from aitia.tools.strict import StrictTool, strict
from aitia.tools.surface import RunArgument, Surface

APP_URI: Final = "ui://aitia/run.html"
POINTS: Final = 100
"""Points per curve: this also reaches the model, so it stays small."""
CURVES: Final = {"gradient norm": "grad_norm", "update ratio": "update_ratio", "learning rate": "lr"}


class Curve(Record):
    """One series, thinned evenly; null where a value was not finite."""

    name: str
    steps: tuple[int, ...] = ()
    values: tuple[float | None, ...] = ()


class LayerState(Record):
    """One layer and its state of health."""

    layer: str
    health: str


class RunView(ToolResult):
    """What the page draws."""

    shrinkable: ClassVar[tuple[str, ...]] = ("layers", "curves")
    status: str
    steps: int
    verdict: str
    cause: str | None = None
    confidence: float | None = None
    onset_step: int | None = None
    nonfinite_step: int | None = None
    """Where the first NaN or Inf was seen; a missing value before it was not measured."""
    curves: tuple[Curve, ...] = ()
    layers: tuple[LayerState, ...] = ()


def view_of(run: Run, surface: Surface) -> RunView:
    """Curves, verdict and layers of a run."""
    diagnosis = surface.answer(run)
    best = diagnosis.hypotheses[0] if diagnosis.hypotheses else None
    series = {"loss": training_loss(run), **{name: run.scalar(column) for name, column in CURVES.items()}}
    curves = []
    for name, (steps, values) in series.items():
        at, shown = thin(steps, values, POINTS)
        if any(v is not None for v in shown):
            curves.append(Curve(name=name, steps=tuple(at), values=tuple(shown)))
    lost = [fact.step for fact in run.facts("nonfinite")]
    told = f"accused: {best.cause} ({best.confidence:.2f})" if best else "nothing is accused"
    return RunView(
        run=run.id,
        summary=f"{run.id}: {run.info.status.value} after {run.n_steps} steps, verdict {diagnosis.verdict}, {told}.",
        status=run.info.status.value,
        steps=run.n_steps,
        verdict=diagnosis.verdict,
        cause=best.cause if best else None,
        confidence=best.confidence if best else None,
        onset_step=diagnosis.onset_step,
        nonfinite_step=min(lost, default=None),
        curves=tuple(curves),
        layers=tuple(LayerState(layer=x.layer, health=x.health) for x in LayerAnalyzer(run).analyze(limit=30).layers),
    )


def app_page() -> str:
    """The page: one document without any outside reference."""
    return (files("aitia.tools") / "pages" / "run.html").read_text("utf-8")


def show_tool(surface: Surface, audit: Path | None) -> StrictTool:
    """The tool, bound to its page."""

    def show_run(run: RunArgument = "latest") -> RunView:
        """Open an interactive page with the run's curves, layers and verdict, in clients that show MCP apps. Call it
        when the user wants to look at the run; elsewhere it returns thinned curves."""
        return view_of(surface.open(run), surface)

    return strict(show_run, title="Show a run", audit=audit, meta={"ui": {"resourceUri": APP_URI}})
