"""A language model that replays a recorded conversation, and one that records: tests and demos need no network.

A conversation is a JSON Lines file: `{"request": [[role, text], …], "response": text}` per call. A line without
`request` answers anything; one with a request answers only that, so that a drifted prompt is noticed. A line without
`response` says something about the file. Those of the package, for the demos, are in `prompts/talks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.agent.errors import ConfigurationError, LanguageModelError
from aitia.agent.lm import name_of, quiet_dspy
from aitia.agent.program import PROMPTS

if TYPE_CHECKING:
    import dspy

Request = list[list[str]]
TALKS = PROMPTS / "talks"


class ReplayEngine:
    """Answers requests from a recorded conversation, in order."""

    supports_function_calling = supports_response_schema = supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self, turns: list[dict[str, Any]], name: str) -> None:
        self.turns = turns
        self.name = name
        self.requests: list[Request] = []

    def complete(self, request: Any) -> Any:
        """The next recorded answer."""
        asked = conversation(request)
        self.requests.append(asked)
        number = len(self.requests)
        if number > len(self.turns):
            raise LanguageModelError(f"{self.name} holds {len(self.turns)} answers, and one more was asked for.")
        turn = self.turns[number - 1]
        if "request" in turn and turn["request"] != asked:
            raise LanguageModelError(
                f"{self.name}: call {number} asks something else than was recorded; record it again."
            )
        return reply(request, str(turn["response"]))


class FunctionEngine:
    """Answers by a function of the conversation: a stand-in model for tests of whole procedures."""

    supports_function_calling = supports_response_schema = supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self, answer: Callable[[Request], str]) -> None:
        self.answer = answer

    def complete(self, request: Any) -> Any:
        """What the function says."""
        return reply(request, self.answer(conversation(request)))


class RecordingEngine:
    """Passes requests on to another model and keeps the conversation."""

    supports_function_calling = supports_response_schema = supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self, inner: dspy.LM, path: Path) -> None:
        self.inner = inner
        self.path = path

    def complete(self, request: Any) -> Any:
        """The other model's answer."""
        asked = conversation(request)
        answer = self.inner(replace(request, model=self.inner.model))
        text = answer.message.text or ""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"request": asked, "response": text}, ensure_ascii=False) + "\n")
        return reply(request, text)  # tokens were counted by the other model


def replay(path: str | Path) -> dspy.LM:
    """A model that replays the conversation in a file, or one of the package by its name (`demo-flat`)."""
    shipped = TALKS / f"{path}.jsonl"
    file = Path(path) if Path(path).is_file() or not shipped.is_file() else shipped
    try:
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
        turns = [line for line in lines if "response" in line]
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(sorted(p.stem for p in TALKS.glob("*.jsonl")))
        raise ConfigurationError(
            f"no conversation can be replayed from {path}: {error}. Those of the package: {known}."
        ) from None
    return with_engine(ReplayEngine(turns, Path(path).name), f"replay/{Path(path).name}")


def scripted(*answers: str | dict[str, Any]) -> dspy.LM:
    """A model that gives these answers, one after the other."""
    turns = [{"response": a if isinstance(a, str) else json.dumps(a)} for a in answers]
    return with_engine(ReplayEngine(turns, "script"), "replay/script")


def recording(inner: dspy.LM, path: Path) -> dspy.LM:
    """A model that keeps its conversation in a file."""
    made = with_engine(RecordingEngine(inner, path), inner.model)
    made.named = name_of(inner)
    return made


def with_engine(engine: Any, name: str) -> dspy.LM:
    """A dspy model around an engine of ours: no cache, no retries."""
    made: dspy.LM = quiet_dspy().LM(name, engine=engine, async_engine=None, cache=False, num_retries=0)
    return made


def conversation(request: Any) -> Request:
    """The request as role and text."""
    system = request.system
    text = system if isinstance(system, str) else "".join(getattr(p, "text", "") for p in system or ())
    turns = [[str(m.role), m.text or ""] for m in request.messages]
    return ([["system", text]] if text else []) + turns


def reply(request: Any, text: str) -> Any:
    """A complete response with that text."""
    from dspy.lm15 import Message, Response, TextPart, Usage

    return Response(
        id=None,
        model=request.model,
        message=Message.assistant([TextPart(text)]),
        finish_reason="stop",
        usage=Usage(),
    )
