"""`aitia mcp` and `aitia serve`: the same tools for AI assistants, over stdio or HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from aitia.commands.options import Runs

Toolsets = Annotated[
    list[str] | None,
    typer.Option(
        "--toolset",
        metavar="NAME",
        help="Also offer tools that write (write) or run your program (exec). May be given more than once.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Accepted for symmetry: what this speaks is JSON in any case.", hidden=True)
]


def mcp(toolset: Toolsets = None, runs: Runs = None, as_json: AsJson = False) -> None:
    """Speak MCP on stdin and stdout: this is the command an assistant starts."""
    from aitia.engine.store.reader import runs_root
    from aitia.tools.server import serve_stdio

    serve_stdio(runs_root(runs), toolset or [])


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8765,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Accept a HOST that other machines can reach.")
    ] = False,
    toolset: Toolsets = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Speak MCP over HTTP on this machine; prints the address and the token of this start."""
    from aitia.engine.store.reader import runs_root
    from aitia.tools.server import serve_http

    serve_http(runs_root(runs), host, port, toolset or [], allow_remote=allow_remote)
