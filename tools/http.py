"""The HTTP side of the server: a bearer token per start, loopback only, Host and Origin checked."""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from aitia.engine.store.errors import AitiaError

PATH: Final = "/mcp"
TOKEN_VARIABLE: Final = "AITIA_TOKEN"  # noqa: S105 - the name of a variable, no secret
"""Sets the token where a client's configuration has to outlive a restart; at least `MIN_TOKEN` characters."""
MIN_TOKEN: Final = 16
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ServeError(AitiaError):
    """The address cannot be used."""


class TokenGate:
    """Lets a request pass that carries the token; all others get 401."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http" or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        body = b"A bearer token is needed; `aitia serve` printed it when it started.\n"
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()),
                   (b"www-authenticate", b"Bearer")]  # fmt: skip
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _allowed(self, scope: Scope) -> bool:
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def application(server: MCPServer[Any], host: str, port: int, token: str) -> TokenGate:
    """The guarded ASGI application."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    security = TransportSecuritySettings(
        allowed_hosts=[f"{n}:{port}" for n in sorted(names)],
        allowed_origins=[f"http://{n}:*" for n in sorted(names)],
    )
    return TokenGate(
        server.streamable_http_app(streamable_http_path=PATH, host=host, transport_security=security), token
    )


def serve(server: MCPServer[Any], host: str, port: int, *, allow_remote: bool = False) -> None:
    """Bind, say where and with which token, and serve until interrupted."""
    import uvicorn

    if not allow_remote and not is_loopback(host):
        raise ServeError(f"{host} can be reached from other machines; use 127.0.0.1 and an SSH tunnel instead.")
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    if len(token) < MIN_TOKEN:
        raise ServeError(f"{TOKEN_VARIABLE} is too short: {MIN_TOKEN} characters at least.")
    bound = _bind(host, port)
    port = int(bound.getsockname()[1])
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"aitia serves MCP at http://{shown}:{port}{PATH}\nAuthorization: Bearer {token}\n")
    sys.stderr.flush()
    config = uvicorn.Config(application(server, host, port, token), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[bound])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from None
    return bound
