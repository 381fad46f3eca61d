"""The MCP server: aitia's tools, resources and prompts for AI assistants, over stdio or loopback HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from mcp.server import CacheHint, MCPServer
from mcp.server.apps import Apps, ResourceCsp
from mcp.server.mcpserver import UserMessage
from mcp.types import Completion

from aitia.engine.store.errors import AitiaError
from aitia.tools.artifacts import artifact_text
from aitia.tools.listing import run_names, runs_page
from aitia.tools.optin import TOOLSETS, tools_of
from aitia.tools.plots import plot_tool
from aitia.tools.show_run import APP_URI, app_page, show_tool
from aitia.tools.strict import StrictTool, strict
from aitia.tools.surface import Surface
from aitia.tools.trust import RUN_NAME

AUDIT_FILE: Final = "mcp-audit.jsonl"
MAX_COMPLETIONS: Final = 100
"""The protocol's own limit."""
LIST_SECONDS: Final = 60_000
"""Milliseconds a client may keep the list of tools, which never changes while the server runs."""


class ToolsetError(AitiaError):
    """A toolset that does not exist."""


def build_server(root: Path, toolsets: Sequence[str] = ()) -> MCPServer[Any]:
    """The server over the runs under `root`, with the opt-in `toolsets` added.

    Raises:
        ToolsetError: a name that is not in `TOOLSETS`.
    """
    surface = Surface(root)
    audit = root / AUDIT_FILE if root.is_dir() else None
    apps = Apps()
    apps.add_html_resource(APP_URI, app_page(), csp=ResourceCsp(connect_domains=[]), prefers_border=True)
    extra = [tool for name in dict.fromkeys(toolsets) for tool in _toolset(name, surface, audit)]
    server: MCPServer[Any] = MCPServer(
        "aitia",
        title="aitia: why did my training run fail?",
        version=_version(),
        instructions=_prompt("instructions"),
        tools=[*_tools(surface, audit), *extra],
        extensions=[apps],
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_SECONDS, scope="public")},
        log_level="WARNING",
    )
    _add_resources(server, surface)
    _add_prompts(server)
    _add_completions(server, surface)
    return server


def serve_stdio(root: Path, toolsets: Sequence[str] = ()) -> None:
    """Serve one client on stdin and stdout until it leaves."""
    server = build_server(root, toolsets)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a buffered print drained at exit would end up between protocol messages
        reconfigure(line_buffering=True)
    server.run("stdio")


def serve_http(
    root: Path, host: str = "127.0.0.1", port: int = 8765, toolsets: Sequence[str] = (), *, allow_remote: bool = False
) -> None:
    """Serve over Streamable HTTP on this machine, with a new token per start, until interrupted."""
    from aitia.tools.http import serve

    serve(build_server(root, toolsets), host, port, allow_remote=allow_remote)


def _tools(surface: Surface, audit: Path | None) -> list[Any]:
    first: dict[str, Any] = {"anthropic/alwaysLoad": True}
    """Claude Code hides tools behind a search unless they carry this mark; two are enough to begin with."""
    return [
        strict(surface.diagnose, title="Diagnose a run", audit=audit, meta=first),
        strict(surface.list_runs, title="List runs", audit=audit, meta=first),
        strict(surface.explain_cause, title="Explain a cause", audit=audit),
        strict(surface.analyze_layers, title="Analyze layers", audit=audit),
        strict(surface.debug_gradients, title="Debug gradients", audit=audit),
        strict(surface.profile_performance, title="Profile performance", audit=audit),
        strict(surface.track_memory, title="Track memory", audit=audit),
        strict(surface.diagnose_error, title="Diagnose an error", audit=audit),
        strict(surface.compare_runs, title="Compare two runs", audit=audit),
        plot_tool(surface, audit),
        show_tool(surface, audit),
    ]


def _toolset(name: str, surface: Surface, audit: Path | None) -> list[StrictTool]:
    if name not in TOOLSETS:
        raise ToolsetError(f"no toolset {name!r}; there are {', '.join(TOOLSETS)}")
    return tools_of(name, surface, audit)


def _add_resources(server: MCPServer[Any], surface: Surface) -> None:
    @server.resource("runs://index", name="runs_index", title="Recorded runs", mime_type="application/json")
    def index() -> str:
        """Names, states and losses of the newest runs."""
        return json.dumps(runs_page(surface.root).payload())

    @server.resource("run://{run}/{+artifact}", name="run_artifact", title="A file of a run", mime_type="text/plain")
    def artifact(run: str, artifact: str) -> str:
        """diagnosis.json, steps.csv, loss.csv; and log.txt, source/<file>, which are untrusted."""
        return artifact_text(surface, run, artifact)


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt(title="Debug a run")
    def debug_run(run: str = "latest", focus: str = "the root cause") -> list[UserMessage]:
        """Find the root cause of one run, with evidence and a fix."""
        return _messages("debug_run", run=run, focus=focus)

    @server.prompt(title="Compare two runs")
    def compare_runs(run: str, other: str) -> list[UserMessage]:
        """Explain what made one run differ from another."""
        return _messages("compare_runs", run=run, other=other)

    @server.prompt(title="Review before a long run")
    def review_before_long_run(run: str = "latest", steps: str = "100000") -> list[UserMessage]:
        """Check a short trial run before spending days on the long one."""
        return _messages("review_before_long_run", run=run, steps=steps)


def _add_completions(server: MCPServer[Any], surface: Surface) -> None:
    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator] # the package leaves it untyped
    async def complete(ref: Any, argument: Any, context: Any) -> Completion | None:
        if argument.name not in {"run", "other"}:
            return None
        names = [n for n in ("latest", *run_names(surface.root)) if argument.value in n]
        more = len(names) > MAX_COMPLETIONS
        return Completion(values=names[:MAX_COMPLETIONS], total=len(names), has_more=more)


def _messages(name: str, **values: str) -> list[UserMessage]:
    for key in ("run", "other"):
        if key in values and not RUN_NAME.fullmatch(values[key]):
            raise ValueError(f"{key} is not a run name")
    return [UserMessage(Template(_prompt(name)).substitute(values))]


def _prompt(name: str) -> str:
    return (files("aitia.prompts") / "mcp" / f"{name}.md").read_text("utf-8").strip()


def _version() -> str:
    try:
        return version("aitia")
    except PackageNotFoundError:
        return "0"
