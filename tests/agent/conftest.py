"""A diagnosis with two close hypotheses, a run to it, and a model behind a loopback gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from gateway import URL, Gateway, completion
from runs import write_run
from talk import EVIDENCE, HYPOTHESES

from aitia.agent import lm as factory
from aitia.agent.optimize import LabelledCase
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A synthetic run with a script."""
    return write_run(tmp_path_factory.mktemp("agent"), "stale_head")


@pytest.fixture
def diagnosis(run: Run) -> Diagnosis:
    """Two hypotheses that the engine cannot tell apart for sure."""
    return Diagnosis(
        run=run.id, verdict="faulty", summary="Gradients add up.", onset_step=2, hypotheses=HYPOTHESES,
        evidence=EVIDENCE,
    )  # fmt: skip


@pytest.fixture
def cases(run: Run, diagnosis: Diagnosis) -> list[LabelledCase]:
    """Nine cases whose truth is the second hypothesis, three healthy ones."""
    quiet = diagnosis.model_copy(update={"hypotheses": (), "verdict": "healthy", "evidence": EVIDENCE})
    faulty = [LabelledCase(f"f{n}", run, diagnosis, frozenset({HYPOTHESES[1].cause})) for n in range(9)]
    return [*faulty, *(LabelledCase(f"h{n}", run, quiet, frozenset()) for n in range(3))]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A server on this machine; a request that no route expects fails the test."""
    made = Gateway()
    yield made
    made.close()
    assert made.unexpected == []


@pytest.fixture
def answers(gateway: Gateway) -> Callable[..., respx.Route]:
    """Make the server give these answers, one after the other."""

    def set_up(*bodies: str | dict[str, Any] | httpx.Response | Exception) -> respx.Route:
        given = [
            b if isinstance(b, httpx.Response | Exception) else httpx.Response(200, json=completion(b)) for b in bodies
        ]
        return gateway.router.post(URL).mock(side_effect=given)

    return set_up


@pytest.fixture
def lm(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of an OpenAI-compatible server, made by the factory, with little patience."""
    monkeypatch.setenv(factory.OWN_KEY, "sk-for-this-server-only")
    monkeypatch.setattr(factory, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(factory, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(factory, "LONGEST_WAIT", 0.02)
    return factory.make_lm("openai/test-model", gateway.base_url)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder
