"""Every provider's own path over a real socket: address, key, limits, and each way it can fail."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from gateway import Gateway, completion, error, message
from talk import GOOD

from aitia.agent import lm as factory
from aitia.agent.errors import LanguageModelError
from aitia.agent.judge import consult
from aitia.agent.replay_lm import recording
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

pytest.importorskip("dspy")
CHAT = "http://llm.test/v1/chat/completions"
MESSAGES = "http://llm.test/v1/messages"


@dataclass(frozen=True)
class Provider:
    """How one provider is spoken to."""

    model: str
    url: str
    sent_model: str
    key_header: str
    limit: str
    """Name of the limit on output tokens."""

    def answer(self, text: Any) -> httpx.Response:
        """A whole answer in its words."""
        return httpx.Response(200, json=(message if self.url == MESSAGES else completion)(text))


PROVIDERS = (
    Provider("openai/gpt-4.1", CHAT, "gpt-4.1", "authorization", "max_completion_tokens"),
    Provider("openai/my-own-server-model", CHAT, "my-own-server-model", "authorization", "max_completion_tokens"),
    Provider("anthropic/claude-sonnet-4-5", MESSAGES, "claude-sonnet-4-5", "x-api-key", "max_tokens"),
    Provider("ollama/qwen3:8b", CHAT, "qwen3:8b", "authorization", "max_tokens"),
    Provider("vllm/Qwen/Qwen3-8B", CHAT, "Qwen/Qwen3-8B", "authorization", "max_tokens"),
    Provider("lm_studio/local", CHAT, "local", "authorization", "max_tokens"),
)
SHAPES = (PROVIDERS[0], PROVIDERS[2], PROVIDERS[3])
"""One per protocol and way of asking for JSON; the others differ in name only."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of everybody in the environment, and little patience."""
    for variable in factory.KEYS.values():
        monkeypatch.setenv(variable, "sk-a-real-providers-key")
    monkeypatch.setenv(factory.OWN_KEY, "sk-for-this-server-only")
    monkeypatch.setattr(factory, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(factory, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(factory, "LONGEST_WAIT", 0.02)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.model)
def test_a_provider_is_asked_in_its_own_way(
    provider: Provider, gateway: Gateway, run: Run, diagnosis: Diagnosis
) -> None:
    """One request at the right address, with the key meant for it and no other; the answer is used."""
    route = gateway.router.post(provider.url).mock(side_effect=[provider.answer(GOOD)])

    done = consult(run, diagnosis, factory.make_lm(provider.model, gateway.base_url.removesuffix("/v1")))

    assert (done.diagnosis.mode, done.calls, done.tokens) == ("llm", 1, 12)
    request = route.calls.last.request
    body = json.loads(request.content)
    assert body["model"] == provider.sent_model
    assert body[provider.limit] == factory.MAX_TOKENS
    assert body["temperature"] == 0.0
    assert request.headers[provider.key_header].removeprefix("Bearer ") == "sk-for-this-server-only"
    assert "sk-a-real-providers-key" not in str(request.headers) + request.content.decode()


FAILURES: dict[str, tuple[Any, int]] = {
    "500": (error(500, "broken"), 3),
    "429": (error(429, "slow down"), 3),
    "retry-after an hour": (
        httpx.Response(429, json={"error": {"message": "slow"}}, headers={"retry-after": "3600"}), 3),
    "timeout": (httpx.ReadTimeout("silence"), 3),
    "hang-up": (httpx.ConnectError("bye"), 3),
    "cut in the middle": (httpx.RemoteProtocolError('{"id": "c", "choices": [{"mess'), 3),
    "html": (httpx.Response(200, text="<html>a proxy's page</html>"), 1),
    "prompt too long": (error(400, "maximum context length is 4096", code="context_length_exceeded"), 1),
    "no json": (httpx.Response(200, text="{", headers={"content-type": "application/json"}), 1),
}  # fmt: skip
TEXTS = {"prose": "The rate is too high.", "cut": '{"verdicts": [{"hypothesis_id": "H1"', "empty": "",
         "wrong type": {**GOOD, "verdicts": "H1"}, "missing field": {"verdicts": GOOD["verdicts"]}}  # fmt: skip


@pytest.mark.parametrize("provider", SHAPES, ids=lambda p: p.model)
@pytest.mark.parametrize("kind", FAILURES)
def test_a_provider_that_fails_costs_a_bounded_number_of_calls(
    kind: str, provider: Provider, gateway: Gateway, run: Run, diagnosis: Diagnosis
) -> None:
    """The rules answer, labelled, with the reason in the notes and no secret in it."""
    failure, calls = FAILURES[kind]
    route = gateway.router.post(provider.url).mock(side_effect=[failure] * 4)

    done = consult(run, diagnosis, factory.make_lm(provider.model, gateway.base_url))

    check_fallback(done.diagnosis, diagnosis)
    assert route.call_count == calls


@pytest.mark.parametrize("provider", SHAPES, ids=lambda p: p.model)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_model_that_talks_past_the_question_is_not_used(
    kind: str, provider: Provider, gateway: Gateway, run: Run, diagnosis: Diagnosis
) -> None:
    """Prose, cut, empty or misshapen answers end in the rules' answer."""
    route = gateway.router.post(provider.url).mock(side_effect=[provider.answer(TEXTS[kind])] * 4)

    done = consult(run, diagnosis, factory.make_lm(provider.model, gateway.base_url))

    check_fallback(done.diagnosis, diagnosis)
    assert route.call_count <= 2


def check_fallback(found: Diagnosis, rules: Diagnosis) -> None:
    """The rules' answer, and why."""
    assert found.mode == "rules_fallback"
    assert (found.hypotheses, found.summary, found.evidence) == (rules.hypotheses, rules.summary, rules.evidence)
    assert found.notes[-1].startswith("the language model's answer was not used: ")
    assert "sk-" not in " ".join(found.notes)


REFUSALS = {
    CHAT: [error(401, "bad key"), error(403, "not allowed"), error(429, "quota", code="insufficient_quota"),
           error(404, "no such model", code="model_not_found")],
    MESSAGES: [httpx.Response(status, json={"type": "error", "error": {"type": kind, "message": text}})
               for status, kind, text in ((401, "authentication_error", "invalid x-api-key"),
                                          (403, "permission_error", "no"), (404, "not_found_error", "model: x"),
                                          (400, "invalid_request_error", "Your credit balance is too low"))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "place"), [(p, n) for p in SHAPES for n in range(4)], ids=lambda v: getattr(v, "model", v)
)
def test_a_provider_that_refuses_is_an_error(
    provider: Provider, place: int, gateway: Gateway, run: Run, diagnosis: Diagnosis
) -> None:
    """Key, permission, credit and name are the user's to mend: one line after one call, no silent fallback."""
    route = gateway.router.post(provider.url).mock(side_effect=[REFUSALS[provider.url][place]] * 2)

    with pytest.raises(LanguageModelError, match="the language model refused") as caught:
        consult(run, diagnosis, factory.make_lm(provider.model, gateway.base_url))
    assert route.call_count == 1
    assert "\n" not in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_keeping_the_talk_changes_nothing_else(
    gateway: Gateway, run: Run, diagnosis: Diagnosis, tmp_path: Path
) -> None:
    """Tokens are counted, a refusal stays a refusal, and a hiccup is tried again."""
    gateway.router.post(CHAT).mock(side_effect=[
        error(500, "hiccup"), httpx.Response(200, json=completion(GOOD)), error(401, "bad key"),
    ])  # fmt: skip
    lm = recording(factory.make_lm("vllm/Qwen/Qwen3-8B", gateway.base_url), tmp_path / "talk.jsonl")

    done = consult(run, diagnosis, lm)
    with pytest.raises(LanguageModelError, match="the language model refused"):
        consult(run, diagnosis, lm)

    assert (done.diagnosis.mode, done.diagnosis.model, done.tokens) == ("llm", "vllm/Qwen/Qwen3-8B", 12)
    [turn] = (tmp_path / "talk.jsonl").read_text("utf-8").splitlines()
    assert json.loads(json.loads(turn)["response"]) == GOOD


def test_nobody_listening_is_no_error(run: Run, diagnosis: Diagnosis) -> None:
    """A local server that is not running ends in the rules' answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    done = consult(run, diagnosis, factory.make_lm("ollama/qwen3", f"http://127.0.0.1:{port}"))

    check_fallback(done.diagnosis, diagnosis)


GUARD = """
import socket, sys
elsewhere, connect, look_up = [], socket.socket.connect, socket.getaddrinfo
def guarded(self, address):
    if isinstance(address, tuple) and address[0] not in ('127.0.0.1', 'localhost', '::1'):
        elsewhere.append(address)
    return connect(self, address)
def asked(host, *rest, **more):
    if host not in ('127.0.0.1', 'localhost', '::1'):
        elsewhere.append(host)
    return look_up(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = guarded, asked
"""


def test_nothing_else_is_loaded_contacted_or_written_for_them(tmp_path: Path) -> None:
    """No gateway library (seconds, hundreds of megabytes), no download of a price list, no cache in the home folder."""
    gateway = Gateway()
    gateway.router.post(CHAT).mock(side_effect=lambda _: httpx.Response(200, json=completion("hello")))
    gateway.router.post(MESSAGES).mock(side_effect=lambda _: httpx.Response(200, json=message("hello")))
    code = GUARD + (
        "from aitia.agent.lm import make_lm\n"
        f"for model in {[p.model for p in PROVIDERS]!r}:\n"
        f"    assert make_lm(model, {gateway.base_url!r})('hi') == ['hello'], model\n"
        "heavy = [m for m in ('litellm', 'openai', 'anthropic', 'torch') if m in sys.modules]\n"
        "sys.stdout.write(str(heavy + elsewhere))"
    )
    try:
        home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **home}
        )
    finally:
        gateway.close()

    assert (done.stdout, done.returncode) == ("[]", 0), done.stderr
    assert gateway.unexpected == []
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.fixture(autouse=True, scope="module")
def _no_real_host() -> Iterator[None]:
    """Whatever asks httpx for a host that is not this machine fails the test."""
    with respx.mock(assert_all_called=False):
        yield
