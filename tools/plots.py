"""The `plot` tool: one measurement of a run as a picture, with the sentence that says what is on it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import numpy as np
from mcp.types import ImageContent, TextContent
from pydantic import Field

from aitia.engine.store.reader import Array, Run, Steps
from aitia.tools.canvas import line_chart
from aitia.tools.result import text_of
from aitia.tools.series import training_loss
from aitia.tools.strict import StrictTool, strict
from aitia.tools.surface import RunArgument, Surface
from aitia.tools.trust import safe_name

What = Literal["loss", "gradient_norm", "update_ratio", "learning_rate", "memory", "step_time", "gradient_flow"]
COLUMNS: Final[dict[str, str]] = {
    "gradient_norm": "grad_norm",
    "update_ratio": "update_ratio",
    "learning_rate": "lr",
    "memory": "rss_bytes",
    "step_time": "step_s",
}
MAX_POINTS: Final = 1_200
"""Two per pixel are enough."""


def plot_run(run: Run, what: What) -> tuple[str, bytes]:
    """A sentence about the picture, and the picture as PNG.

    Raises:
        KeyError: that was not measured in this run.
    """
    steps, keep = _measured(run, what)
    if not keep:
        others = [w for w in get_args(What) if w != what and _measured(run, w)[1]]
        raise KeyError(
            f"{what} was not measured in this run; "
            + (f"measured are {', '.join(others)}" if others else "nothing was: it ended before its first step")
        )
    pick = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_POINTS)).astype(int))
    picture, log = line_chart(what.replace("_", " "), steps[pick], {n: v[pick] for n, v in keep.items()})
    scale = "logarithmic" if log else "linear"
    parts = [f"{name}: first {text_of(_edge(v, 0))}, last {text_of(_edge(v, -1))}, lowest {text_of(_finite(v).min())}, "
             f"highest {text_of(_finite(v).max())}, {int(np.sum(~np.isfinite(v)))} not finite"
             for name, v in keep.items() if len(_finite(v))]  # fmt: skip
    told = "; ".join(parts) or "no finite value"
    return f"{what} of {run.id} over steps {steps[0]} to {steps[-1]} ({scale} axis). {told}.", picture


def _measured(run: Run, what: What) -> tuple[Steps, dict[str, Array]]:
    """The series that hold something; a loss that never was finite counts, that is what one wants to see."""
    steps, series = _series(run, what)
    return steps, {name: v for name, v in series.items() if len(v) and (np.isfinite(v).any() or what == "loss")}


def _series(run: Run, what: What) -> tuple[Steps, dict[str, Array]]:
    if what == "loss":
        steps, loss = training_loss(run)
        return steps, {"loss": loss}
    if what == "gradient_flow":
        wide = run.wide("param")
        weights = [p for p in run.parameters if p.in_model and len(p.shape) > 1]
        chosen = (
            [weights[i] for i in sorted({0, len(weights) // 3, 2 * len(weights) // 3, len(weights) - 1})]
            if weights
            else []
        )
        norms = wide.values["grad_norm"]
        return wide.steps, {safe_name(p.name, p.index, "parameter"): norms[:, p.index].astype(np.float64)
                            for p in chosen if p.index < norms.shape[1]}  # fmt: skip
    steps, values = run.scalar(COLUMNS[what])
    return steps, {what: values}


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def _edge(values: Array, at: int) -> float:
    return float(_finite(values)[at])


def plot_tool(surface: Surface, audit: Path | None) -> StrictTool:
    """The tool; it has no output schema, since clients drop images beside structured data."""

    def plot(
        run: RunArgument = "latest",
        what: Annotated[What, Field(description="`gradient_flow`: up to four weights from first to last.")] = "loss",
    ) -> list[Any]:
        """Draw one measurement over the steps as a PNG. Call it only when the user wants to see a curve; numbers come
        cheaper from the other tools."""
        told, picture = plot_run(surface.open(run), what)
        data = base64.b64encode(picture).decode()
        return [TextContent(type="text", text=told), ImageContent(type="image", data=data, mime_type="image/png")]

    return strict(plot, title="Plot a measurement", audit=audit)
