"""Serves respx routes on a loopback socket, so that any HTTP client sees them, dspy's raw sockets included."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import respx

URL = "http://llm.test/v1/chat/completions"
STALL_S = 1.5
"""How long the server keeps silent when a route times out; longer than the client's patience in the tests."""


class Gateway:
    """One server with a respx router behind it; the router is never started, so nothing is patched."""

    def __init__(self) -> None:
        self.router = respx.MockRouter(assert_all_called=False)
        self.unexpected: list[str] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Silence."""

            def do_POST(self) -> None:
                gateway.serve(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request from the router."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        request = httpx.Request(
            handler.command, f"http://llm.test{handler.path}", headers=list(handler.headers.items()), content=body
        )
        handler.close_connection = True
        try:
            response = self.router.handler(request)
            response.read()
        except httpx.TimeoutException:
            time.sleep(STALL_S)
            return
        except httpx.RemoteProtocolError as cut:  # the connection ends in the middle of the answer
            handler.send_response(200)
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", str(len(str(cut)) + 1000))
            handler.end_headers()
            handler.wfile.write(str(cut).encode())
            return
        except httpx.TransportError:
            return
        except respx.models.AllMockedAssertionError as error:
            self.unexpected.append(f"{request.method} {request.url}")
            response = httpx.Response(599, text=str(error))
        handler.send_response(response.status_code)
        for name, value in response.headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "content-encoding", "connection"}:
                handler.send_header(name, value)
        handler.send_header("content-length", str(len(response.content)))
        handler.end_headers()
        handler.wfile.write(response.content)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def completion(answer: str | dict[str, Any]) -> dict[str, Any]:
    """A chat completion with that text."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def message(answer: str | dict[str, Any]) -> dict[str, Any]:
    """The same as Anthropic words it."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 7, "output_tokens": 5}}  # fmt: skip


def error(status: int, message: str, **details: Any) -> httpx.Response:
    """An error as OpenAI-compatible servers word it."""
    return httpx.Response(status, json={"error": {"message": message, **details}})
