"""`aitia show`: the measurements of one run, one aspect at a time."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from aitia.commands.options import AsJson, Runs

if TYPE_CHECKING:
    from rich.console import Console

    from aitia.engine.store.reader import Run
    from aitia.tools.result import ToolResult


class Aspect(StrEnum):
    """What can be looked at."""

    LAYERS = "layers"
    GRADIENTS = "gradients"
    PERFORMANCE = "performance"
    MEMORY = "memory"
    EVENTS = "events"
    GRAPH = "graph"
    ERRORS = "errors"


COLUMNS = {
    "layers": (
        "layer", "cls", "health", "since_step", "out_std", "zero_share", "dead_share", "saturated_share",
        "grad_out_norm",
    ),
    "parameters": ("parameter", "shape", "health", "since_step", "grad_norm", "weight_norm", "update_ratio"),
}  # fmt: skip
"""What a screen has room for; all of it comes with --json."""
MAX_COLUMNS = 7
MAX_CELL = 60
"""A table cell longer than this makes the other columns unreadable."""


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, a unique part of it, or `latest`.")],
    aspect: Annotated[Aspect, typer.Argument(help="What to look at.")],
    only: Annotated[
        str | None, typer.Option("--only", metavar="NAME", help="Only this layer or parameter, by its dotted path.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows of layers or gradients, worst first.")] = 12,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the graph into this file (with graph).")
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Show one aspect of a run: layers, gradients, performance, memory, events, graph or errors."""
    from aitia.commands.screen import console, say_json
    from aitia.engine.store.errors import AitiaError
    from aitia.engine.store.reader import open_run, runs_root

    if svg is not None and aspect is not Aspect.GRAPH:
        raise AitiaError(f"--svg draws the causal graph: aitia show {run} graph --svg {svg}")
    opened = open_run(run, runs_root(runs))
    if aspect is Aspect.EVENTS:
        _events(opened, as_json)
    elif aspect is Aspect.GRAPH:
        _graph(opened, as_json, svg)
    else:
        try:
            result = _tool(opened, aspect, only, limit)
        except KeyError as error:  # no layer or parameter of that name; the message lists those there are
            raise AitiaError(str(error.args[0])) from None
        if as_json:
            say_json(result.payload())
        else:
            tell_result(console(), result)


def _tool(run: Run, aspect: Aspect, only: str | None, limit: int) -> ToolResult:
    if aspect is Aspect.LAYERS:
        from aitia.tools.layer_analyzer import LayerAnalyzer

        return LayerAnalyzer(run).analyze(only, limit)
    if aspect is Aspect.GRADIENTS:
        from aitia.tools.gradient_debugger import GradientDebugger

        return GradientDebugger(run).analyze(only, limit)
    if aspect is Aspect.PERFORMANCE:
        from aitia.tools.performance_profiler import PerformanceProfiler

        return PerformanceProfiler(run).analyze()
    if aspect is Aspect.MEMORY:
        from aitia.tools.memory_tracker import MemoryTracker

        return MemoryTracker(run).analyze()
    from aitia.tools.error_diagnoser import ErrorDiagnoser

    return ErrorDiagnoser(run).analyze()


def _events(run: Run, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from aitia.commands.screen import clean, console, say_json
    from aitia.engine.events import events

    found = events(run)
    if as_json:
        say_json({"run": run.id, "events": found})
        return
    screen = console()
    if not found:
        screen.print("Nothing changed state in this run.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("step", "subject", "from → to", "what"):
        table.add_column(title, overflow="fold")
    for event in found:
        until = f"-{event.last_step}" if event.last_step is not None and event.last_step != event.step else ""
        change = f"{event.before} → {event.after}"
        table.add_row(f"{event.step}{until}", Text(clean(event.subject)), change, Text(clean(event.statement, 300)))
    screen.print(table)


def _graph(run: Run, as_json: bool, file: Path | None) -> None:
    from aitia.commands.screen import clean, say_json
    from aitia.engine.graph import mermaid
    from aitia.engine.reason import diagnose

    found = diagnose(run)
    text = mermaid(run, found)
    if file is not None:
        from aitia.engine.drawing import svg

        file.write_text(svg(run, found), encoding="utf-8")
    if file is not None and not as_json:
        typer.echo(f"written: {file}")
    elif as_json:
        say_json({"run": run.id, "mermaid": text})
    else:
        typer.echo(clean(text, 100_000))


def tell_result(screen: Console, result: ToolResult) -> None:
    """Any tool's answer: its summary, its tables, its evidence."""
    from rich.table import Table
    from rich.text import Text

    from aitia.commands.screen import clean

    screen.print(Text(clean(result.summary), style="bold"))
    for name, value in result:
        if name in {"run", "summary", "evidence", "suggested_actions", "omitted"} or value is None:
            continue
        if isinstance(value, str | int | float):
            screen.print(Text(f"{_words(name)}: {clean(_cell(value))}"))
        elif isinstance(value, tuple | list) and value and isinstance(value[0], BaseModel):
            screen.print()
            screen.print(_table(_words(name), list(value)))
        elif isinstance(value, dict) and value:
            screen.print(Text(f"{_words(name)}: " + ", ".join(f"{clean(str(k))} {_cell(v)}" for k, v in value.items())))
        elif isinstance(value, tuple | list) and value:
            screen.print(Text(f"{_words(name)}: " + ", ".join(clean(_cell(v), 200) for v in value)))
    if result.evidence:
        screen.print()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for each in result.evidence:
            table.add_row(each.id, Text(clean(each.statement, 400)))
        screen.print(table)
    if result.omitted:
        screen.print(Text(clean(result.omitted), style="dim"))


def _table(title: str, rows: list[BaseModel]) -> Any:
    """Rows of one model as a table: the columns that fit a screen, without those that hold no value."""
    from rich.table import Table
    from rich.text import Text

    from aitia.commands.screen import clean

    fields = COLUMNS.get(title) or tuple(type(rows[0]).model_fields)[:MAX_COLUMNS]
    fields = tuple(f for f in fields if any(getattr(r, f, None) not in (None, "", (), {}) for r in rows))
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, field in enumerate(fields):
        table.add_column(_words(field), overflow="fold", no_wrap=number == 0 or field == "health")
    for row in rows:
        table.add_row(*(Text(clean(_cell(getattr(row, f, None)), MAX_CELL)) for f in fields))
    return table


def _words(field: str) -> str:
    return field.removeprefix("untrusted_").replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return ", ".join(_cell(v) for v in value)
    if isinstance(value, BaseModel):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value)
    return str(value)
